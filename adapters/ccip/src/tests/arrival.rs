//! Where messages stand on the target, and what anyone may do about it.

use super::*;
use crate::abi::v1_6::IOffRamp;
use crate::revert::ICcipErrors;
use crate::{Verified, VerifierResults};
use relayer_adapter_api::{AdapterError, BridgeAdapter, Call, Class, Delivery, GasRule};
use std::sync::Arc;

fn pending(note: &str) -> Delivery {
    Delivery::Pending { note: note.to_owned() }
}

fn attested(note: &str) -> Delivery {
    Delivery::Attested { note: note.to_owned() }
}

async fn delivery(target: &Scripted, number: u64) -> Delivery {
    let reference = reference(&sent(number));
    adapter()
        .delivery(&Scripted::default(), target, &reference)
        .await
        .unwrap()
}

/// A source that emitted messages 1 to `n`.
fn source_with(n: u64) -> Scripted {
    Scripted {
        logs: (1..=n).map(emission).collect(),
        ..Scripted::default()
    }
}

/// A target on which messages 1 to 5 are committed, `age` seconds ago.
fn committed(age: u64) -> Scripted {
    Scripted {
        uncommitted: 6,
        committed_at: NOW - age,
        logs: vec![commit(1, 5).0],
        ..Scripted::default()
    }
}

async fn advance(source: &Scripted, target: &Scripted, number: u64) -> Result<Vec<Call>, AdapterError> {
    adapter().advance(source, target, &reference(&sent(number))).await
}

fn failed_with(number: u64, data: Vec<u8>) -> LogRecord {
    let event = IOffRamp::ExecutionStateChanged {
        sourceChainSelector: SOURCE_SELECTOR,
        sequenceNumber: number,
        messageId: sent(number).id(),
        messageHash: B256::ZERO,
        state: 3,
        returnData: data.into(),
        gasUsed: U256::ZERO,
    };
    log(OFF_RAMP, &event)
}

#[tokio::test]
async fn only_the_vote_of_our_own_port_is_an_arrival() {
    let mut target = committed(10);
    target.votes = U256::from(0b0100); // slot 2, another port
    assert_eq!(delivery(&target, 3).await, attested("committed, not executed"));
    target.votes = U256::from(0b1100); // and slot 3, ours
    assert_eq!(delivery(&target, 3).await, Delivery::Received);
    assert!(advance(&source_with(5), &target, 3).await.unwrap().is_empty());
    target.votes = U256::ZERO;
    target.state = 2;
    assert!(matches!(delivery(&target, 3).await, Delivery::Failed { .. }));
    assert!(advance(&source_with(5), &target, 3).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_message_waits_for_is_said() {
    assert_eq!(delivery(&Scripted::default(), 1).await, pending("not committed"));
    assert_eq!(delivery(&committed(10), 5).await, attested("committed, not executed"));
    assert_eq!(delivery(&committed(10), 6).await, pending("not committed"));
    let off = Scripted {
        enabled: false,
        ..Scripted::default()
    };
    assert_eq!(
        delivery(&off, 1).await,
        pending("the lane is disabled on the target's off-ramp")
    );
    let elsewhere = Scripted {
        served: ROUTER,
        ..Scripted::default()
    };
    assert!(matches!(delivery(&elsewhere, 1).await, Delivery::Pending { note } if note.contains("no off-ramp")));
}

#[tokio::test]
async fn a_curse_holds_a_message_back_and_nothing_is_tried_against_it() {
    let target = Scripted {
        cursed: true,
        state: 3,
        ..committed(10)
    };
    assert_eq!(delivery(&target, 3).await, pending("cursed by the RMN of the target"));
    assert!(advance(&source_with(5), &target, 3).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_failed_execution_is_no_verdict_and_its_reason_is_told() {
    let out_of_gas = ICcipErrors::ReceiverError { err: Bytes::new() }.abi_encode();
    let mut target = committed(10);
    target.state = 3;
    target.logs.push(failed_with(2, Vec::new()));
    target.logs.push(failed_with(3, out_of_gas));
    let note =
        "committed, execution failed: the receiver reverted: reverted without data (out of gas, or no contract there)";
    assert_eq!(delivery(&target, 3).await, attested(note));
}

#[tokio::test]
async fn what_nobody_tried_may_be_executed_by_anyone_only_after_the_threshold() {
    let early = committed(u64::from(THRESHOLD));
    assert!(advance(&source_with(5), &early, 3).await.unwrap().is_empty());
    let late = committed(u64::from(THRESHOLD) + 1);
    let calls = advance(&source_with(5), &late, 3).await.unwrap();
    assert_eq!(calls.len(), 1);
    assert_eq!(
        (calls[0].chain, calls[0].to, calls[0].value),
        (TARGET, OFF_RAMP, U256::ZERO)
    );
    // Estimates lie here: too little gas marks the message as failed in a transaction that succeeds.
    assert_eq!(calls[0].gas, GasRule::Fixed(PAID_GAS + PAID_GAS / 32 + 350_000));
    let call = IOffRamp::manuallyExecuteCall::abi_decode(&calls[0].data).unwrap();
    let report = &call.reports[0];
    assert_eq!(report.messages[0].header.messageId, sent(3).id());
    assert_eq!((report.proofs.len(), report.proofFlagBits), (3, U256::ZERO));
    assert_eq!(report.offchainTokenData, vec![Vec::<Bytes>::new()]);
    assert_eq!((call.gasLimitOverrides.len(), call.gasLimitOverrides[0].len()), (1, 1));
    assert!(call.gasLimitOverrides[0][0].receiverExecutionGasLimit.is_zero());
}

#[tokio::test]
async fn a_receiver_that_ran_out_of_gas_gets_what_the_simulation_says_it_needs() {
    let target = Scripted {
        state: 3,
        needs_gas: 400_000,
        ..committed(10)
    };
    let calls = advance(&source_with(5), &target, 5).await.unwrap();
    let call = IOffRamp::manuallyExecuteCall::abi_decode(&calls[0].data).unwrap();
    let raised = U256::from(PAID_GAS * 4);
    assert_eq!(call.gasLimitOverrides[0][0].receiverExecutionGasLimit, raised);
    assert_eq!(call.reports[0].messages[0].gasLimit, U256::from(PAID_GAS));
    assert!(matches!(calls[0].gas, GasRule::Fixed(gas) if gas > PAID_GAS * 4 + 350_000));
    let greedy = Scripted {
        needs_gas: 5_000_000,
        ..target
    };
    assert!(advance(&source_with(5), &greedy, 5).await.is_err());
}

#[tokio::test]
async fn a_rescue_somebody_else_made_first_is_left_out_and_a_real_refusal_is_told() {
    let mut target = Scripted {
        state: 3,
        ..committed(10)
    };
    target.reverts = Some(ICcipErrors::ManualExecutionNotYetEnabled { sourceChainSelector: 1 }.abi_encode());
    assert!(advance(&source_with(5), &target, 1).await.unwrap().is_empty());
    let not_port = ISettlementInbox::NotPort { caller: TARGET_PORT }.abi_encode();
    target.inner = Some(ICcipErrors::ReceiverError { err: not_port.into() }.abi_encode());
    let error = advance(&source_with(5), &target, 1).await.unwrap_err();
    assert_eq!(error.class(), Class::Reject);
    assert!(error.to_string().contains("inbox: NotPort"), "{error}");
}

#[tokio::test]
async fn a_batch_that_is_not_all_there_or_gives_another_root_is_not_sent() {
    let target = Scripted {
        state: 3,
        ..committed(10)
    };
    let error = advance(&source_with(4), &target, 3).await.unwrap_err();
    assert_eq!(error.class(), Class::NotYet, "{error}");
    let mut other = source_with(5);
    other.logs[1] = {
        let mut message = emitted(2);
        message.data = Bytes::new();
        log(
            ON_RAMP,
            &v1_6::IOnRamp::CCIPMessageSent {
                destChainSelector: TARGET_SELECTOR,
                sequenceNumber: 2,
                message,
            },
        )
    };
    let error = advance(&other, &target, 3).await.unwrap_err();
    assert!(error.to_string().contains("committed root"), "{error}");
    let uncommitted = Scripted {
        logs: Vec::new(),
        ..target
    };
    assert_eq!(
        advance(&source_with(5), &uncommitted, 3).await.unwrap_err().class(),
        Class::NotYet
    );
}

#[tokio::test]
async fn messages_to_other_chains_are_no_part_of_the_batch() {
    let mut source = source_with(5);
    let foreign = v1_6::IOnRamp::CCIPMessageSent {
        destChainSelector: 99,
        sequenceNumber: 3,
        message: emitted(3),
    };
    source.logs.insert(2, log(ON_RAMP, &foreign));
    let target = Scripted {
        state: 3,
        ..committed(10)
    };
    assert_eq!(advance(&source, &target, 4).await.unwrap().len(), 1);
}

#[tokio::test]
async fn evidence_that_does_not_fit_the_reference_is_refused() {
    let mut wrong_id = reference(&sent(1));
    wrong_id.id = sent(2).id();
    let mut wrong_lane = reference(&sent(1));
    (wrong_lane.source, wrong_lane.target) = (TARGET, SOURCE);
    for reference in [wrong_id, wrong_lane] {
        let outcome = adapter()
            .delivery(&Scripted::default(), &Scripted::default(), &reference)
            .await;
        assert!(matches!(outcome, Err(AdapterError::Decode { .. })), "{outcome:?}");
    }
}

// ------------------------------------------------------------------------------------------------ 2.0

#[derive(Debug)]
struct Fixed(Option<Verified>);

#[async_trait]
impl VerifierResults for Fixed {
    async fn find(&self, id: B256, encoded: &Bytes) -> Result<Option<Verified>, AdapterError> {
        assert_eq!(keccak256(encoded), id);
        Ok(self.0.clone())
    }
}

fn adapter_2_0(done: bool) -> CcipAdapter {
    let verified = Verified {
        ccvs: vec![RMN],
        results: vec![Bytes::from_static(b"signed")],
    };
    CcipAdapter::with_verifier_results(config(), Arc::new(Fixed(done.then_some(verified)))).unwrap()
}

fn target_2_0() -> Scripted {
    Scripted {
        off_ramp_version: "OffRamp 2.0.0",
        ..Scripted::default()
    }
}

async fn delivery_2_0(target: &Scripted, done: bool) -> Delivery {
    let reference = reference(&sent_2_0(1));
    adapter_2_0(done)
        .delivery(&Scripted::default(), target, &reference)
        .await
        .unwrap()
}

async fn advance_2_0(target: &Scripted, done: bool) -> Result<Vec<Call>, AdapterError> {
    let reference = reference(&sent_2_0(1));
    adapter_2_0(done)
        .advance(&Scripted::default(), target, &reference)
        .await
}

#[tokio::test]
async fn a_message_of_2_0_is_executed_by_anyone_once_verified() {
    let target = target_2_0();
    assert_eq!(delivery_2_0(&target, false).await, pending("no verifier results yet"));
    assert!(advance_2_0(&target, false).await.unwrap().is_empty());
    assert_eq!(delivery_2_0(&target, true).await, attested("verified, not executed"));
    let calls = advance_2_0(&target, true).await.unwrap();
    assert_eq!(calls[0].to, OFF_RAMP);
    assert_eq!(calls[0].gas, GasRule::Fixed(400_000 + 450_000));
    let call = v2_0::IOffRamp::executeCall::abi_decode(&calls[0].data).unwrap();
    assert_eq!(call.encodedMessage, packed(1));
    assert_eq!((call.ccvs, call.gasLimitOverride), (vec![RMN], 0));
}

#[tokio::test]
async fn a_failure_that_junk_results_brought_about_is_only_a_hint() {
    let target = Scripted {
        state: 3,
        ..target_2_0()
    };
    assert_eq!(
        delivery_2_0(&target, false).await,
        pending("no verifier results yet, an execution failed")
    );
    assert_eq!(
        delivery_2_0(&target, true).await,
        attested("verified, not executed, an execution failed")
    );
    assert_eq!(advance_2_0(&target, true).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_receiver_of_2_0_gets_the_gas_it_needs_and_junk_results_are_not_sent() {
    let hungry = Scripted {
        needs_gas: 200_000,
        ..target_2_0()
    };
    let calls = advance_2_0(&hungry, true).await.unwrap();
    let call = v2_0::IOffRamp::executeCall::abi_decode(&calls[0].data).unwrap();
    assert_eq!(u64::from(call.gasLimitOverride), PAID_GAS * 2);
    let junk = Scripted {
        inner: Some(ICcipErrors::RequiredCCVMissing { requiredCCV: RMN }.abi_encode()),
        ..target_2_0()
    };
    assert!(
        advance_2_0(&junk, true)
            .await
            .unwrap_err()
            .to_string()
            .contains("RequiredCCVMissing")
    );
}

#[tokio::test]
async fn curse_pause_and_success_of_2_0_are_seen() {
    let cursed = Scripted {
        cursed: true,
        ..target_2_0()
    };
    assert_eq!(
        delivery_2_0(&cursed, true).await,
        pending("cursed by the RMN of the target")
    );
    assert!(advance_2_0(&cursed, true).await.unwrap().is_empty());
    let off = Scripted {
        enabled: false,
        ..target_2_0()
    };
    assert_eq!(
        delivery_2_0(&off, true).await,
        pending("the lane is disabled on the target's off-ramp")
    );
    let done = Scripted {
        state: 2,
        ..target_2_0()
    };
    assert!(matches!(delivery_2_0(&done, true).await, Delivery::Failed { .. }));
    assert!(advance_2_0(&done, true).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_curse_on_the_target_and_a_lane_that_is_switched_off_are_obstacles() {
    let lane = adapter().lane(SOURCE, TARGET).unwrap();
    let obstacle = async |source: Scripted, target: Scripted| adapter().obstacle(&source, &target, &lane).await;
    let off = Scripted {
        on_ramp: Address::ZERO,
        ..Scripted::default()
    };
    let found = obstacle(off, Scripted::default()).await.unwrap().unwrap();
    assert!(found.contains("no on-ramp"), "{found}");
    let old = Scripted {
        version: "EVM2EVMOnRamp 1.5.0",
        ..Scripted::default()
    };
    let found = obstacle(old, Scripted::default()).await.unwrap().unwrap();
    assert!(found.contains("CCIP 1.5"), "{found}");
    let cursed = Scripted {
        cursed: true,
        ..Scripted::default()
    };
    let found = obstacle(Scripted::default(), cursed).await.unwrap().unwrap();
    assert!(
        found.contains("the RMN on chain") && found.contains("has cursed"),
        "{found}"
    );
}

#[tokio::test]
async fn only_a_lane_without_an_executor_is_delivered_by_us() {
    let lane = |ours: bool| {
        let mut config = config();
        config.chains[0].self_execute = ours;
        CcipAdapter::new(config).unwrap().lane(SOURCE, TARGET).unwrap()
    };
    assert!(lane(true).self_delivered && !lane(false).self_delivered);
    let mut config = config();
    config.chains[0].self_execute = true;
    // The port of the other chain has lanes of its own.
    let back = CcipAdapter::new(config).unwrap().lane(TARGET, SOURCE);
    assert!(!back.unwrap().self_delivered);
}
