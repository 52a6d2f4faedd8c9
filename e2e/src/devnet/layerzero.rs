//! The real LayerZero V2 contracts, deployed from the artifacts inside the npm packages and wired as LayerZero wires them.

use super::abi::*;
use crate::deploy::artifacts::{contracts_folder, with_args};
use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, Bytes, U256};
use alloy::providers::{DynProvider, Provider};
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::SolCall;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

const PROTOCOL: &str = "node_modules/@layerzerolabs/lz-evm-protocol-v2/artifacts/contracts";
const MESSAGELIB: &str = "node_modules/@layerzerolabs/lz-evm-messagelib-v2/artifacts/contracts";

/// LayerZero's contracts on one chain.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LayerZero {
    pub eid: u32,
    pub endpoint: Address,
    pub endpoint_view: Address,
    pub send_library: Address,
    pub receive_library: Address,
    pub receive_view: Address,
    pub dvn: Address,
    pub executor: Address,
    price_feed: Address,
    dvn_fee_lib: Address,
    executor_fee_lib: Address,
}

/// Who plays which part.
#[derive(Debug, Clone, Copy)]
pub struct Parts {
    pub admin: Address,
    /// Signs attestations and calls the DVN contract.
    pub dvn: Address,
    pub executor: Address,
}

fn artifact(package: &str, path: &str) -> Result<Bytes> {
    let file = contracts_folder().join(package).join(format!("{path}.json"));
    let text = std::fs::read_to_string(&file).with_context(|| {
        format!(
            "{} is missing: run `npm ci --ignore-scripts` in contracts/",
            file.display()
        )
    })?;
    let json: serde_json::Value = serde_json::from_str(&text)?;
    let code = json["bytecode"]
        .as_str()
        .with_context(|| format!("{} has no bytecode", file.display()))?;
    Ok(code.parse()?)
}

/// Sends a transaction from the provider's wallet and waits for it.
pub async fn send(provider: &DynProvider, request: TransactionRequest, what: &str) -> Result<Address> {
    let receipt = provider
        .send_transaction(request)
        .await
        .with_context(|| what.to_owned())?
        .get_receipt()
        .await?;
    if !receipt.status() {
        bail!("{what} reverted");
    }
    Ok(receipt.contract_address.unwrap_or_default())
}

pub async fn create(provider: &DynProvider, code: Bytes, what: &str) -> Result<Address> {
    send(provider, TransactionRequest::default().with_deploy_code(code), what).await
}

pub async fn call<C: SolCall>(provider: &DynProvider, to: Address, call: C) -> Result<()> {
    let request = TransactionRequest::default().with_to(to).with_input(call.abi_encode());
    send(provider, request, C::SIGNATURE).await.map(drop)
}

/// Deploys everything of one chain.
pub async fn deploy(provider: &DynProvider, eid: u32, parts: Parts) -> Result<LayerZero> {
    let one = U256::from(10).pow(U256::from(18));
    let code = |package, path| artifact(package, path);
    let endpoint_code = with_args(&code(PROTOCOL, "EndpointV2.sol/EndpointV2")?, &(eid, parts.admin));
    let endpoint = create(provider, endpoint_code, "EndpointV2").await?;
    let endpoint_view = create(
        provider,
        code(PROTOCOL, "EndpointV2View.sol/EndpointV2View")?,
        "EndpointV2View",
    )
    .await?;
    call(provider, endpoint_view, IEndpointV2View::initializeCall { endpoint }).await?;
    let send_args = (endpoint, U256::from(100_000), U256::from(10_000_000_000_000_000u64));
    let send_code = with_args(&code(MESSAGELIB, "uln/uln302/SendUln302.sol/SendUln302")?, &send_args);
    let send_library = create(provider, send_code, "SendUln302").await?;
    let receive_code = with_args(
        &code(MESSAGELIB, "uln/uln302/ReceiveUln302.sol/ReceiveUln302")?,
        &(endpoint,),
    );
    let receive_library = create(provider, receive_code, "ReceiveUln302").await?;
    let view_code = code(MESSAGELIB, "uln/uln302/ReceiveUln302View.sol/ReceiveUln302View")?;
    let receive_view = create(provider, view_code, "ReceiveUln302View").await?;
    let view_call = IReceiveUln302View::initializeCall {
        endpoint,
        receiveUln302: receive_library,
    };
    call(provider, receive_view, view_call).await?;

    let price_feed = create(provider, code(MESSAGELIB, "PriceFeed.sol/PriceFeed")?, "PriceFeed").await?;
    call(
        provider,
        price_feed,
        IPriceFeed::initializeCall { updater: parts.admin },
    )
    .await?;
    let treasury = create(provider, code(MESSAGELIB, "Treasury.sol/Treasury")?, "Treasury").await?;
    call(provider, send_library, IUln302::setTreasuryCall { treasury }).await?;
    let dvn_fee_code = with_args(&code(MESSAGELIB, "uln/dvn/DVNFeeLib.sol/DVNFeeLib")?, &(eid, one));
    let dvn_fee_lib = create(provider, dvn_fee_code, "DVNFeeLib").await?;
    // vid = eid % 30000 is LayerZero's convention for the chain's V1 id.
    let libraries = vec![send_library, receive_library];
    let dvn_args = (
        eid,
        eid % 30_000,
        libraries,
        price_feed,
        vec![parts.dvn],
        1u64,
        vec![parts.dvn, parts.admin],
    );
    let dvn = create(
        provider,
        with_args(&code(MESSAGELIB, "uln/dvn/DVN.sol/DVN")?, &dvn_args),
        "DVN",
    )
    .await?;
    let executor_fee_code = with_args(&code(MESSAGELIB, "ExecutorFeeLib.sol/ExecutorFeeLib")?, &(eid, one));
    let executor_fee_lib = create(provider, executor_fee_code, "ExecutorFeeLib").await?;
    let executor = create(provider, code(MESSAGELIB, "Executor.sol/Executor")?, "Executor").await?;
    let initialize = IExecutor::initializeCall {
        endpoint,
        receiveUln301: Address::ZERO,
        messageLibs: vec![send_library],
        priceFeed: price_feed,
        roleAdmin: parts.admin,
        admins: vec![parts.admin, parts.executor],
    };
    call(provider, executor, initialize).await?;
    Ok(LayerZero {
        eid,
        endpoint,
        endpoint_view,
        send_library,
        receive_library,
        receive_view,
        dvn,
        executor,
        price_feed,
        dvn_fee_lib,
        executor_fee_lib,
    })
}

/// Opens the way from `here` to `there`. Order matters: default libraries only after the configurations, or the endpoint refuses.
pub async fn wire(provider: &DynProvider, here: &LayerZero, there: &LayerZero, confirmations: u64) -> Result<()> {
    let remote = there.eid;
    call(provider, here.dvn, IDVN::setWorkerFeeLibCall { lib: here.dvn_fee_lib }).await?;
    let dvn_config = DvnDstConfigParam {
        dstEid: remote,
        gas: 100_000,
        multiplierBps: 0,
        floorMarginUSD: 0,
    };
    call(
        provider,
        here.dvn,
        IDVN::setDstConfigCall {
            params: vec![dvn_config],
        },
    )
    .await?;
    call(
        provider,
        here.executor,
        IExecutor::setWorkerFeeLibCall {
            lib: here.executor_fee_lib,
        },
    )
    .await?;
    let executor_config = ExecDstConfigParam {
        dstEid: remote,
        lzReceiveBaseGas: 60_000,
        lzComposeBaseGas: 60_000,
        multiplierBps: 12_000,
        floorMarginUSD: 0,
        nativeCap: 10u128.pow(18),
    };
    call(
        provider,
        here.executor,
        IExecutor::setDstConfigCall {
            params: vec![executor_config],
        },
    )
    .await?;
    // The feed is keyed by eid % 30000; under the full eid the price stays 0 and quotes silently answer 0.
    let price = Price {
        priceRatio: 10u128.pow(20),
        gasPriceInUnit: 2_000_000_000,
        gasPerByte: 16,
    };
    let prices = vec![UpdatePrice {
        eid: remote % 30_000,
        price,
    }];
    call(provider, here.price_feed, IPriceFeed::setPriceCall { prices }).await?;
    call(
        provider,
        here.endpoint,
        IEndpointV2::registerLibraryCall { lib: here.send_library },
    )
    .await?;
    call(
        provider,
        here.endpoint,
        IEndpointV2::registerLibraryCall {
            lib: here.receive_library,
        },
    )
    .await?;
    let executor = ExecutorConfig {
        maxMessageSize: 10_000,
        executor: here.executor,
    };
    let params = vec![SetDefaultExecutorConfigParam {
        eid: remote,
        config: executor,
    }];
    call(
        provider,
        here.send_library,
        IUln302::setDefaultExecutorConfigsCall { params },
    )
    .await?;
    for library in [here.send_library, here.receive_library] {
        let config = UlnConfig {
            confirmations,
            requiredDVNCount: 1,
            optionalDVNCount: 0,
            optionalDVNThreshold: 0,
            requiredDVNs: vec![here.dvn],
            optionalDVNs: vec![],
        };
        let params = vec![SetDefaultUlnConfigParam { eid: remote, config }];
        call(provider, library, IUln302::setDefaultUlnConfigsCall { params }).await?;
    }
    let send_default = IEndpointV2::setDefaultSendLibraryCall {
        eid: remote,
        lib: here.send_library,
    };
    call(provider, here.endpoint, send_default).await?;
    let receive_default = IEndpointV2::setDefaultReceiveLibraryCall {
        eid: remote,
        lib: here.receive_library,
        gracePeriod: U256::ZERO,
    };
    call(provider, here.endpoint, receive_default).await
}
