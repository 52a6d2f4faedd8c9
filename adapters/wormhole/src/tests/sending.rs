//! Quotes, sends, configuration, words of refusals.

use super::*;

fn log<E: SolEvent>(address: Address, event: &E) -> LogRecord {
    let data = event.encode_log_data();
    LogRecord {
        address,
        topics: data.topics().to_vec(),
        data: data.data,
        block_number: 90,
        block_hash: B256::repeat_byte(8),
        tx_hash: B256::repeat_byte(2),
        log_index: 0,
    }
}

pub(super) fn published(sender: Address, sequence: u64) -> LogRecord {
    let event = ICore::LogMessagePublished {
        sender,
        sequence,
        nonce: 0,
        payload: header(sequence).encode().into(),
        consistencyLevel: 1,
    };
    log(CORE, &event)
}

pub(super) fn announced(sequence: u64) -> LogRecord {
    let event = ISettlementOutbox::MessageDispatched {
        messageId: header(sequence).batch_id().0,
        port: SOURCE_PORT,
        bridgeRef: body(sequence).digest(),
        targetChain: TARGET.0,
        sequence,
        count: 1,
    };
    log(OUTBOX, &event)
}

pub(super) fn receipt(logs: Vec<LogRecord>) -> TxReceipt {
    TxReceipt {
        tx_hash: B256::repeat_byte(2),
        block_number: 90,
        block_hash: B256::repeat_byte(8),
        succeeded: true,
        gas_used: 100_000,
        effective_gas_price: 1,
        logs,
    }
}

#[test]
fn a_send_is_named_by_the_digest_the_outbox_announced() {
    let adapter = Asked::of(vec![Answer::Absent]).adapter;
    // A stranger's message in the same transaction is not ours.
    let stranger = published(Address::repeat_byte(0x99), 1);
    let found = adapter.decode_send(&receipt(vec![
        stranger.clone(),
        published(SOURCE_PORT, 1),
        announced(1),
    ]));
    assert_eq!(found.unwrap(), reference(1));
    for logs in [
        vec![stranger, announced(1)],
        vec![published(SOURCE_PORT, 1)],
        vec![published(SOURCE_PORT, 1), announced(2)],
        vec![
            published(SOURCE_PORT, 1),
            published(SOURCE_PORT, 2),
            announced(1),
            announced(2),
        ],
    ] {
        assert!(adapter.decode_send(&receipt(logs)).is_err());
    }
    let reverted = TxReceipt {
        succeeded: false,
        ..receipt(vec![published(SOURCE_PORT, 1), announced(1)])
    };
    assert!(adapter.decode_send(&reverted).is_err());
}

pub(super) fn sealed() -> SealedMessage {
    SealedMessage {
        header: header(1),
        body: relayer_adapter_api::Body::Batch {
            ids: vec![SettlementId(B256::repeat_byte(5))],
        },
        committed: false,
    }
}

#[tokio::test]
async fn a_quote_is_the_cores_fee_and_the_send_pays_it() {
    let adapter = Asked::of(vec![Answer::Absent]).adapter;
    let mut world = World {
        fee: U256::from(7),
        ..World::default()
    };
    let quote = adapter.quote(&world, &sealed()).await.unwrap();
    assert_eq!(quote.native_fee, U256::from(7));
    let call = adapter.build_send(&sealed(), &quote).unwrap();
    assert_eq!((call.chain, call.to, call.value), (SOURCE, OUTBOX, U256::from(7)));
    let decoded = ISettlementOutbox::dispatchCall::abi_decode(&call.data).unwrap();
    assert_eq!((decoded.port, decoded.settlementIds.len()), (SOURCE_PORT, 1));

    // A working core refuses the value of the question, no more.
    world.reverts = Some(
        ICore::Error {
            reason: "invalid fee".into(),
        }
        .abi_encode(),
    );
    assert!(adapter.quote(&world, &sealed()).await.is_ok());
}

#[tokio::test]
async fn a_core_that_does_not_publish_gives_no_quote() {
    let adapter = Asked::of(vec![Answer::Absent]).adapter;
    for data in [
        Vec::new(),
        ICore::Error {
            reason: "paused".into(),
        }
        .abi_encode(),
    ] {
        let world = World {
            reverts: Some(data),
            ..World::default()
        };
        let error = adapter.quote(&world, &sealed()).await.unwrap_err();
        assert!(matches!(error.class(), Class::Retry { .. }), "{error}");
        assert!(error.to_string().contains("does not publish"), "{error}");
    }
}

#[test]
fn a_lane_exists_between_configured_chains_and_is_ours_to_deliver() {
    let adapter = Asked::of(vec![Answer::Absent]).adapter;
    let lane = adapter.lane(SOURCE, TARGET).unwrap();
    assert!(lane.self_delivered && lane.family == Family::WORMHOLE);
    assert!(adapter.lane(SOURCE, SOURCE).is_none() && adapter.lane(SOURCE, ChainId(1)).is_none());
    let mut foreign = sealed();
    foreign.header.outbox = Address::repeat_byte(1);
    let quote = relayer_adapter_api::Quote {
        native_fee: U256::ZERO,
        gas_limit: 0,
        valid_for: std::time::Duration::ZERO,
        expected: std::time::Duration::ZERO,
    };
    assert!(matches!(
        adapter.build_send(&foreign, &quote),
        Err(AdapterError::Protocol { .. })
    ));
}

#[test]
fn configurations_that_cannot_work_are_refused() {
    let broken = |change: &dyn Fn(&mut WormholeConfig)| {
        let mut config = config();
        change(&mut config);
        config.check().unwrap_err()
    };
    assert_eq!(broken(&|c| c.chains[1].chain = SOURCE), ConfigError::ChainTwice(SOURCE));
    assert_eq!(
        broken(&|c| c.chains[1].wormhole_chain = 2),
        ConfigError::WormholeChain(TARGET, 2)
    );
    assert_eq!(broken(&|c| c.chains[0].core = Address::ZERO), ConfigError::Zero(SOURCE));
    assert_eq!(broken(&|c| c.guardian_endpoints.clear()), ConfigError::NoEndpoint);
    for endpoint in ["ftp://guardian", "guardian", ""] {
        let mut config = config();
        config.guardian_endpoints = vec![endpoint.into()];
        assert!(
            matches!(RestGuardian::all(&config), Err(ConfigError::Endpoint(_))),
            "{endpoint}"
        );
    }
}

#[test]
fn the_answer_of_a_guardian_is_base64_in_json() {
    let encoded = base64::engine::general_purpose::STANDARD.encode(hex::decode(VECTOR).unwrap());
    let answer = format!(r#"{{"vaaBytes":"{encoded}","more":1}}"#);
    assert_eq!(parse(answer.as_bytes()).unwrap().body.nonce, 7);
    for bad in [
        "",
        "{}",
        r#"{"vaaBytes":"!"}"#,
        r#"{"vaaBytes":"AQ=="}"#,
        r#"{"vaaBytes":7}"#,
    ] {
        assert!(parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn reverts_are_named_and_classed() {
    let fee = IWormholePort::FeeTooLow {
        required: U256::from(2),
        supplied: U256::from(1),
    };
    let (text, class) = explain_revert(&fee.abi_encode());
    assert!(
        text.starts_with("port: FeeTooLow") && matches!(class, Class::Retry { .. }),
        "{text}"
    );
    let (text, class) = explain_revert(&IWormholePort::BadVaa {}.abi_encode());
    assert!(text.starts_with("port: BadVaa") && class == Class::Bug, "{text}");
    let (text, class) = explain_revert(&ISettlementInbox::BadMessage {}.abi_encode());
    assert!(
        text.starts_with("inbox: BadMessage") && class == Class::Reject,
        "{text}"
    );
}
