//! The toy bridge through router and dispatcher as they are: no line of theirs knows it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::settlement::states::DispatchSource;
use crate::store::testing::{OUTBOX, SOURCE, TARGET};
use crate::testing::{Flow, World};
use alloy::primitives::{Address, U256};
use alloy::sol_types::SolCall;
use relayer_adapter_api::abi::ISettlementOutbox;
use relayer_adapter_api::{BridgeAdapter, BridgeId};
use relayer_adapter_toy::{ToyAdapter, ToyChain};
use std::sync::{Arc, Mutex};

#[tokio::test]
async fn a_bridge_nobody_knows_is_quoted_chosen_and_dispatched() {
    let port = Address::repeat_byte(0xa1);
    let end = |chain| ToyChain {
        chain,
        port,
        outbox: OUTBOX,
    };
    let toy: Arc<dyn BridgeAdapter> = Arc::new(ToyAdapter {
        id: BridgeId::new("toy").unwrap(),
        chains: vec![end(SOURCE), end(TARGET)],
        fee: U256::from(7),
    });
    let flow = Flow::over(vec![toy], Arc::new(Mutex::new(World::default())), 1).await;
    let message = flow.seal(1).await;
    flow.step(&flow.router).await;
    let planned = flow.dispatch_over(message, "toy").await;
    assert_eq!(planned.fee_quoted, U256::from(7));
    flow.step(&flow.dispatcher).await;
    let dispatch = flow.dispatch_over(message, "toy").await;
    assert_eq!(dispatch.source_state, DispatchSource::Prepared);
    let tx = flow.tx(dispatch.tx.unwrap()).await;
    assert_eq!((tx.to, tx.value), (OUTBOX, U256::from(7)));
    let call = ISettlementOutbox::dispatchCall::abi_decode(&tx.data).unwrap();
    assert_eq!(call.port, port);
}
