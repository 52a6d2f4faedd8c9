//! Configuration, quote, send, and what the receipt of a send proves.

use super::*;
use crate::ConfigError;
use crate::abi::v1_5::SEND_REQUESTED;
use crate::revert::{ICcipErrors, explain};
use relayer_adapter_api::{BridgeAdapter, Class, Family, SealedMessage, SettlementId};
use std::time::Duration;

fn message(committed: bool) -> SealedMessage {
    SealedMessage {
        header: header(1),
        body: relayer_adapter_api::Body::Batch {
            ids: vec![SettlementId(B256::repeat_byte(5))],
        },
        committed,
    }
}

#[test]
fn a_configuration_that_confuses_chains_is_refused() {
    let check = |change: &dyn Fn(&mut CcipConfig), why: ConfigError| {
        let mut config = config();
        change(&mut config);
        assert_eq!(CcipAdapter::new(config).unwrap_err(), why);
    };
    check(&|c| c.chains[1].chain = SOURCE, ConfigError::ChainTwice(SOURCE));
    check(
        &|c| c.chains[1].selector = SOURCE_SELECTOR,
        ConfigError::Selector(TARGET, SOURCE_SELECTOR),
    );
    check(&|c| c.chains[1].selector = TARGET.0, ConfigError::ChainId(TARGET));
    check(&|c| c.chains[0].router = Address::ZERO, ConfigError::Zero(SOURCE));
}

#[test]
fn lanes_exist_between_configured_chains_with_an_outbox_at_the_source() {
    let mut config = config();
    config.chains[1].outbox = None;
    let adapter = CcipAdapter::new(config).unwrap();
    let lane = adapter.lane(SOURCE, TARGET).unwrap();
    assert_eq!((lane.source_port, lane.target_port), (SOURCE_PORT, TARGET_PORT));
    assert_eq!(lane.family, Family(2));
    assert!(adapter.lane(TARGET, SOURCE).is_none());
    assert!(adapter.lane(SOURCE, SOURCE).is_none());
    assert!(adapter.lane(SOURCE, ChainId(1)).is_none());
}

#[tokio::test]
async fn a_quote_adds_the_buffer_and_rounds_up() {
    let quote = adapter().quote(&Scripted::default(), &message(false)).await.unwrap();
    assert_eq!(quote.native_fee, U256::from(1_102));
    assert_eq!(quote.gas_limit, u128::from(PAID_GAS));
}

#[tokio::test]
async fn a_lane_of_1_5_or_of_an_unknown_version_is_refused_and_one_switched_off_is_asked_again() {
    let check = async |source: Scripted, class: Class, why: &str| {
        let error = adapter().quote(&source, &message(false)).await.unwrap_err();
        assert_eq!(error.class(), class, "{error}");
        assert!(error.to_string().contains(why), "{error}");
    };
    let says = |version| Scripted {
        version,
        ..Scripted::default()
    };
    check(says("EVM2EVMOnRamp 1.5.0"), Class::Reject, "CCIP 1.5").await;
    check(says("OnRamp 3.0.0"), Class::Reject, "OnRamp 3.0.0").await;
    let off = Scripted {
        on_ramp: Address::ZERO,
        ..Scripted::default()
    };
    let later = Class::Retry {
        after: Duration::from_secs(300),
    };
    check(off, later, "no on-ramp").await;
    assert!(adapter().quote(&says("OnRamp 2.0.0"), &message(false)).await.is_ok());
}

#[tokio::test]
async fn a_curse_on_the_source_is_named_and_asked_again() {
    let error = ICcipErrors::CursedByRMN {
        chainSelector: TARGET_SELECTOR,
    };
    let source = Scripted {
        reverts: Some(error.abi_encode()),
        ..Scripted::default()
    };
    let error = adapter().quote(&source, &message(false)).await.unwrap_err();
    assert!(matches!(error.class(), Class::Retry { .. }));
    assert!(error.to_string().contains("CursedByRMN"), "{error}");
}

#[tokio::test]
async fn a_send_pays_the_quote_and_repeats_ids_only_for_the_first_port() {
    let adapter = adapter();
    let quote = adapter.quote(&Scripted::default(), &message(false)).await.unwrap();
    for (committed, ids) in [(false, 1), (true, 0)] {
        let call = adapter.build_send(&message(committed), &quote).unwrap();
        assert_eq!((call.chain, call.to, call.value), (SOURCE, OUTBOX, U256::from(1_102)));
        let dispatch = ISettlementOutbox::dispatchCall::abi_decode(&call.data).unwrap();
        assert_eq!(dispatch.settlementIds.len(), ids);
        assert_eq!((dispatch.port, dispatch.gasLimit), (SOURCE_PORT, quote.gas_limit));
        assert_eq!(dispatch.header.as_ref(), header(1).encode());
    }
    let mut foreign = message(false);
    foreign.header.outbox = INBOX;
    assert_eq!(adapter.build_send(&foreign, &quote).unwrap_err().class(), Class::Reject);
}

#[tokio::test]
async fn a_port_that_pays_in_link_is_compared_in_native_coin_and_sends_no_value() {
    let mut config = config();
    config.chains[0].fee_token = Some(Address::repeat_byte(0x11));
    let adapter = CcipAdapter::new(config).unwrap();
    let quote = adapter.quote(&Scripted::default(), &message(false)).await.unwrap();
    assert_eq!(quote.native_fee, U256::from(1_102));
    assert_eq!(adapter.build_send(&message(false), &quote).unwrap().value, U256::ZERO);
}

#[test]
fn the_receipt_of_a_send_gives_id_version_and_message() {
    for (emission, sent) in [(emission(7), sent(7)), (emission_2_0(7), sent_2_0(7))] {
        let found = adapter()
            .decode_send(&receipt(vec![emission, announcement(&sent)]))
            .unwrap();
        assert_eq!(found, reference(&sent));
    }
}

#[test]
fn a_receipt_that_does_not_prove_our_send_is_refused() {
    let check = |change: &dyn Fn(&mut TxReceipt), why: &str| {
        let mut receipt = receipt(vec![emission(7), announcement(&sent(7))]);
        change(&mut receipt);
        let error = adapter().decode_send(&receipt).unwrap_err();
        assert!(error.to_string().contains(why), "{error}, expected {why}");
    };
    check(&|r| r.succeeded = false, "reverted");
    // Emitted by somebody who is not the on-ramp the id binds.
    check(&|r| r.logs[0].address = OUTBOX, "no message of our port");
    check(&|r| r.logs[1].address = ON_RAMP, "did not announce");
    check(&|r| r.logs.truncate(1), "did not announce");
    check(&|r| r.logs[1] = announcement(&sent(8)), "did not announce");
    check(&|r| r.logs.push(r.logs[0].clone()), "two messages");
    check(
        &|r| {
            r.logs.remove(0);
        },
        "no message of our port",
    );
    check(
        &|r| {
            r.logs[0].topics = vec![SEND_REQUESTED];
        },
        "CCIP 1.5",
    );
    // Another sender, and another receiver.
    let forged = |change: &dyn Fn(&mut SentMessage)| {
        let mut message = emitted(7);
        change(&mut message);
        message.header.messageId = crate::v1_6::message_id(&message, ON_RAMP);
        let event = v1_6::IOnRamp::CCIPMessageSent {
            destChainSelector: TARGET_SELECTOR,
            sequenceNumber: 7,
            message,
        };
        log(ON_RAMP, &event)
    };
    check(&|r| r.logs[0] = forged(&|m| m.sender = INBOX), "no message of our port");
    check(
        &|r| r.logs[0] = forged(&|m| m.receiver = INBOX.abi_encode().into()),
        "different lanes",
    );
    check(
        &|r| r.logs[0] = forged(&|m| m.header.destChainSelector = 5),
        "different lanes",
    );
    check(&|r| r.logs[0] = forged(&|m| m.data = Bytes::new()), "158 or 190 bytes");
}

#[test]
fn reverts_are_named_inside_out_and_classed_by_what_the_caller_can_do() {
    let check = |data: Vec<u8>, class: Class, name: &str| {
        let (text, found) = explain(&data);
        assert_eq!(found, class, "{text}");
        assert!(text.contains(name), "{text}");
    };
    let not_port = ISettlementInbox::NotPort { caller: TARGET_PORT }.abi_encode();
    let receiver = ICcipErrors::ReceiverError { err: not_port.into() }.abi_encode();
    let outer = ICcipErrors::ExecutionError {
        messageId: B256::ZERO,
        err: receiver.into(),
    };
    check(
        outer.abi_encode(),
        Class::Reject,
        "execution failed: the receiver reverted: inbox: NotPort",
    );
    let again = |after| Class::Retry {
        after: Duration::from_secs(after),
    };
    check(hex!("07da6ee6").to_vec(), again(1), "InsufficientFeeTokenAmount");
    let port = ICcipPort::FeeTooLow {
        fee: U256::from(2),
        value: U256::from(1),
    };
    check(port.abi_encode(), again(1), "port: FeeTooLow");
    check(hex!("c1483715").to_vec(), again(60), "BadARMSignal");
    let limit = ICcipErrors::TokenRateLimitReached {
        minWaitInSeconds: U256::from(77),
        available: U256::ZERO,
        tokenAddress: Address::ZERO,
    };
    check(limit.abi_encode(), again(77), "TokenRateLimitReached");
    check(hex!("37c3be29").to_vec(), Class::Reject, "NotEnoughGasForCall");
    check(
        hex!("ee433e99").to_vec(),
        Class::Bug,
        "ExtraArgOutOfOrderExecutionMustBeTrue",
    );
    check(hex!("deadbeef").to_vec(), Class::Reject, "unknown error 0xdeadbeef");
    check(Vec::new(), again(5), "without data");
}

#[test]
fn the_hand_written_error_list_has_the_selectors_of_the_deployed_contracts() {
    use ICcipErrors as E;
    assert_eq!(E::UnsupportedDestinationChain::SELECTOR, hex!("ae236d9c"));
    assert_eq!(E::MessageTooLarge::SELECTOR, hex!("86933789"));
    assert_eq!(E::CursedByRMN::SELECTOR, hex!("fdbd6a72"));
    assert_eq!(E::ManualExecutionNotYetEnabled::SELECTOR, hex!("a9cfc862"));
    assert_eq!(E::RootNotCommitted::SELECTOR, hex!("7dd17a7e"));
    assert_eq!(E::ReceiverError::SELECTOR, hex!("0a8d6e8c"));
    assert_eq!(E::ExecutionError::SELECTOR, hex!("2b11b8d9"));
    assert_eq!(E::TokenHandlingError::SELECTOR, hex!("9fe2f95a"));
    assert_eq!(E::InsufficientGasForStaticCall::SELECTOR, hex!("ea7f4b12"));
    assert_eq!(E::TokenRateLimitReached::SELECTOR, hex!("d0c8d23a"));
    assert_eq!(E::ManualExecutionGasAmountCountMismatch::SELECTOR, hex!("70a193fd"));
    assert_eq!(E::InvalidManualExecutionGasLimit::SELECTOR, hex!("7531a8c6"));
}
