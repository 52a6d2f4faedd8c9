//! What two scripted chains and a scripted bridge answer, set by the test.

use super::*;

/// What the chains and bridges answer.
#[derive(Debug, Default)]
pub struct World {
    /// Settlements that make an execution revert, by nonce.
    pub poisoned: BTreeSet<u64>,
    /// Settlements the inbox skips with this reason, by nonce.
    pub skipped: BTreeMap<u64, u8>,
    /// Revert data of estimates on a chain.
    pub estimate_reverts: BTreeMap<ChainId, Vec<u8>>,
    /// Fee of a bridge; a bridge without one refuses to quote.
    pub fees: BTreeMap<String, u64>,
    pub delivery: BTreeMap<String, Delivery>,
    pub advance: Vec<Call>,
    /// Nobody but us brings messages in.
    pub self_delivered: bool,
    /// What the chains say against the lane of a bridge.
    pub obstacles: BTreeMap<String, String>,
    pub simulations: usize,
    pub registry: ScriptedRegistry,
}

/// A registry of checkpoints on the target chain.
#[derive(Debug, Default)]
pub struct ScriptedRegistry {
    /// 0 = the hub is not registered.
    pub quorum: u8,
    pub operator: Address,
    /// Another outbox than ours.
    pub outbox: Option<Address>,
    pub families: u64,
    /// From which block on the registry has which root, and which other one, for an eon.
    pub recorded: BTreeMap<u64, (u64, B256, B256)>,
    /// Revert data of recordings, by eon.
    pub refuses: BTreeMap<u64, Vec<u8>>,
}

impl ScriptedRegistry {
    fn answer(&self, at: u64, data: &[u8]) -> Result<Vec<u8>, ViewError> {
        use ICheckpointRegistry as R;
        if R::hubOfCall::abi_decode(data).is_ok() {
            return Ok(R::hubOfCall::abi_encode_returns(&R::Hub {
                chain: SOURCE.0,
                hub: HUB,
                outbox: self.outbox.unwrap_or(OUTBOX),
                operator: self.operator,
                quorum: self.quorum,
                gapMax: 5,
                eonSeconds: 0,
                firstEon: 1,
            }));
        }
        if let Ok(asked) = R::checkpointOfCall::abi_decode(data) {
            let found = self.recorded.get(&asked.eon).filter(|(from, ..)| *from <= at);
            let (_, root, other) = found.copied().unwrap_or_default();
            return Ok(R::checkpointOfCall::abi_encode_returns(&R::Checkpoint {
                root,
                other,
                standing: R::Standing::Provisional,
                recordedAt: 0,
            }));
        }
        if R::familiesOfCall::abi_decode(data).is_ok() {
            return Ok(U256::from(self.families).to_be_bytes::<32>().to_vec());
        }
        let eon = match R::recordCall::abi_decode(data) {
            Ok(record) => WireMessage::decode(&record.message).unwrap().header.sequence,
            Err(_) => R::recordSignedCall::abi_decode(data).unwrap().eon,
        };
        match self.refuses.get(&eon) {
            Some(data) => Err(ViewError::Reverted { data: data.clone() }),
            None => Ok(Vec::new()),
        }
    }
}

pub(crate) type Shared = Arc<Mutex<World>>;

pub(super) struct ScriptedChain {
    pub id: ChainId,
    pub world: Shared,
}

struct ScriptedView {
    id: ChainId,
    block: BlockRef,
    world: Shared,
}

pub fn block(number: u64) -> BlockRef {
    BlockRef {
        number,
        hash: keccak256(number.to_be_bytes()),
        timestamp: 1_000_000 + number,
    }
}

#[async_trait]
impl Chain for ScriptedChain {
    fn id(&self) -> ChainId {
        self.id
    }

    async fn head(&self) -> Result<BlockRef, ViewError> {
        Ok(block(1_000))
    }

    async fn finalized(&self) -> Result<BlockRef, ViewError> {
        Ok(block(900))
    }

    fn view(&self, block: BlockRef) -> Arc<dyn ChainView> {
        Arc::new(ScriptedView {
            id: self.id,
            block,
            world: self.world.clone(),
        })
    }

    async fn block_at(&self, number: u64) -> Result<Option<(BlockRef, B256)>, ViewError> {
        Ok(Some((block(number), block(number.saturating_sub(1)).hash)))
    }

    async fn estimate_gas(&self, _from: Address, _call: &Call) -> Result<u64, ViewError> {
        match self.world.lock().unwrap().estimate_reverts.get(&self.id) {
            Some(data) => Err(ViewError::Reverted { data: data.clone() }),
            None => Ok(100_000),
        }
    }

    async fn fees(&self) -> Result<Fees, ViewError> {
        Ok(Fees {
            base_fee: 1_000,
            priority_fee: 1,
        })
    }

    async fn broadcast(&self, raw: &Bytes) -> Result<B256, ViewError> {
        Ok(keccak256(raw))
    }

    async fn transaction_count(&self, _account: Address, _block: BlockRef) -> Result<u64, ViewError> {
        Ok(0)
    }

    async fn balance(&self, _account: Address, _block: BlockRef) -> Result<U256, ViewError> {
        Ok(U256::from(u128::MAX))
    }

    async fn code(&self, _account: Address) -> Result<Bytes, ViewError> {
        Ok(Bytes::new())
    }
}

#[async_trait]
impl ChainView for ScriptedView {
    fn chain(&self) -> ChainId {
        self.id
    }

    fn block(&self) -> BlockRef {
        self.block
    }

    async fn call(&self, _from: Option<Address>, to: Address, data: Bytes, _value: U256) -> Result<Bytes, ViewError> {
        let mut world = self.world.lock().unwrap();
        if to == REGISTRY {
            return world.registry.answer(self.block.number, &data).map(Bytes::from);
        }
        assert_eq!(to, INBOX);
        if let Ok(one) = ISettlementInbox::executeOneCall::abi_decode(&data) {
            let nonce: u64 = one.settlement.nonce.to();
            let skip = world.skipped.get(&nonce).copied().unwrap_or(0);
            return Ok(U256::from(skip).to_be_bytes::<32>().to_vec().into());
        }
        world.simulations += 1;
        let call = ISettlementInbox::executeCall::abi_decode(&data).unwrap();
        let terms = Packed::decode(&call.packed).unwrap().terms().unwrap();
        let nonces: Vec<u64> = terms.iter().map(|terms| terms.nonce.to()).collect();
        if nonces.iter().any(|nonce| world.poisoned.contains(nonce)) {
            let data = ISettlementInbox::OutOfStipend {}.abi_encode();
            return Err(ViewError::Reverted { data });
        }
        let paid = nonces.iter().filter(|nonce| !world.skipped.contains_key(nonce)).count();
        Ok(U256::from(paid).to_be_bytes::<32>().to_vec().into())
    }

    async fn logs(&self, _filter: &LogFilter) -> Result<Vec<LogRecord>, ViewError> {
        Ok(Vec::new())
    }

    async fn receipt(&self, tx: B256) -> Result<Option<TxReceipt>, ViewError> {
        Ok(Some(TxReceipt {
            tx_hash: tx,
            block_number: 1,
            block_hash: block(1).hash,
            succeeded: true,
            gas_used: 1,
            effective_gas_price: 1,
            logs: Vec::new(),
        }))
    }
}

pub(crate) struct ScriptedBridge {
    pub id: BridgeId,
    pub world: Shared,
}

pub fn source_port(bridge: &str) -> Address {
    Address::from_slice(&keccak256(format!("source {bridge}"))[..20])
}

pub fn target_port(bridge: &str) -> Address {
    Address::from_slice(&keccak256(format!("target {bridge}"))[..20])
}

/// What the bridge calls a message sent by this transaction.
pub fn bridge_ref(tx_hash: B256) -> B256 {
    keccak256(tx_hash)
}

fn refusal() -> AdapterError {
    AdapterError::Protocol {
        attempted: "quoting",
        reason: "closed".into(),
        class: Class::Reject,
    }
}

#[async_trait]
impl BridgeAdapter for ScriptedBridge {
    fn id(&self) -> BridgeId {
        self.id.clone()
    }

    fn lane(&self, from: ChainId, to: ChainId) -> Option<Lane> {
        (from == SOURCE && to == TARGET).then(|| Lane {
            bridge: self.id.clone(),
            family: Family::LAYERZERO,
            source: from,
            target: to,
            source_port: source_port(self.id.as_str()),
            target_port: target_port(self.id.as_str()),
            message_bytes_max: 10_000,
            expected: Duration::from_secs(60),
            self_delivered: self.world.lock().unwrap().self_delivered,
        })
    }

    async fn quote(&self, _source: &dyn ChainView, _message: &SealedMessage) -> Result<Quote, AdapterError> {
        let fee = self.world.lock().unwrap().fees.get(self.id.as_str()).copied();
        Ok(Quote {
            native_fee: U256::from(fee.ok_or_else(refusal)?),
            gas_limit: 200_000,
            valid_for: Duration::from_secs(60),
            expected: Duration::from_secs(60),
        })
    }

    fn build_send(&self, message: &SealedMessage, quote: &Quote) -> Result<Call, AdapterError> {
        let gas = GasRule::Estimate { percent: 120, extra: 0 };
        let ends = (OUTBOX, source_port(self.id.as_str()));
        send::dispatch(message, quote, ends, quote.native_fee, gas)
    }

    fn decode_send(&self, receipt: &TxReceipt) -> Result<MessageRef, AdapterError> {
        Ok(MessageRef {
            source: SOURCE,
            target: TARGET,
            id: bridge_ref(receipt.tx_hash),
            evidence: vec![1].into(),
        })
    }

    async fn delivery(
        &self,
        _source: &dyn ChainView,
        _target: &dyn ChainView,
        _message: &MessageRef,
    ) -> Result<Delivery, AdapterError> {
        let scripted = self.world.lock().unwrap().delivery.get(self.id.as_str()).cloned();
        Ok(scripted.unwrap_or(Delivery::Pending {
            note: "waits for the verifiers".into(),
        }))
    }

    async fn advance(
        &self,
        _source: &dyn ChainView,
        _target: &dyn ChainView,
        _message: &MessageRef,
    ) -> Result<Vec<Call>, AdapterError> {
        Ok(self.world.lock().unwrap().advance.clone())
    }

    async fn obstacle(
        &self,
        _source: &dyn ChainView,
        _target: &dyn ChainView,
        _lane: &Lane,
    ) -> Result<Option<String>, AdapterError> {
        Ok(self.world.lock().unwrap().obstacles.get(self.id.as_str()).cloned())
    }
}
