//! CCIP 2.0 on the devnet: the real contracts, and a committee that signs message ids off chain for whoever executes.
//!
//! Nobody executes by himself: the devnet's ports name no executor, and a test (or a relayer) brings messages in.

use super::abi::v2::*;
use super::deploy::{Ccip, ETHER, EVM_FAMILY, Verifiers, base, open_router, put, set_prices};
use crate::devnet::key;
use crate::devnet::layerzero::{call, create};
use crate::devnet::switches::Switches;
use alloy::primitives::{Address, B256, Bytes, FixedBytes, aliases::U96, keccak256};
use alloy::providers::DynProvider;
use alloy::signers::SignerSync;
use alloy::sol_types::SolValue;
use anyhow::Result;
use async_trait::async_trait;
use relayer::adapter::{AdapterError, Class};
use relayer_adapter_ccip::{Verified, VerifierResults};

/// What marks results of this verifier; a real one is the hash of its name and version.
const TAG: [u8; 4] = [0xe9, 0xa0, 0x5a, 0x20];
/// Members of the committee, and how many must sign.
const MEMBERS: usize = 3;
const THRESHOLD: u8 = 2;

fn member(index: usize) -> Result<alloy::signers::local::PrivateKeySigner> {
    key(&format!("ccip verifier {index}"))
}

/// Deploys one chain.
pub async fn deploy(provider: &DynProvider, admin: Address, selector: u64, remote: u64) -> Result<Ccip> {
    let rmn = put(provider, "v2_0_0/rmn", &(vec![admin],)).await?;
    let mut ccip = base(provider, selector, rmn).await?;
    let quoter = FeeQuoterStatic {
        maxFeeJuelsPerMsg: U96::from(200 * u128::from(ETHER)),
        linkToken: ccip.link,
    };
    let dest = DestChainArgs {
        destChainSelector: remote,
        config: DestChainConfig {
            isEnabled: true,
            maxDataBytes: 32_000,
            maxPerMsgGasLimit: 15_000_000,
            destGasOverhead: 300_000,
            destGasPerPayloadByteBase: 40,
            chainFamilySelector: FixedBytes(EVM_FAMILY),
            defaultTokenFeeUSDCents: 25,
            defaultTokenDestGasOverhead: 90_000,
            defaultTxGasLimit: 200_000,
            networkFeeUSDCents: 10,
            linkFeeMultiplierPercent: 90,
        },
    };
    let none: Vec<Address> = Vec::new();
    ccip.fee_quoter = put(provider, "v2_0_0/fee_quoter", &(quoter, vec![admin], none, vec![dest])).await?;
    let fixed = OnRampStatic {
        chainSelector: selector,
        rmnRemote: ccip.rmn_proxy,
        maxUSDCentsPerMessage: 10_000_000,
        tokenAdminRegistry: ccip.registry,
    };
    let dynamic = OnRampDynamic {
        feeQuoter: ccip.fee_quoter,
        reentrancyGuardEntered: false,
        feeAggregator: admin,
    };
    ccip.on_ramp = put(provider, "v2_0_0/onramp", &(fixed, dynamic)).await?;
    let fixed = OffRampStatic {
        localChainSelector: selector,
        gasForCallExactCheck: 5_000,
        rmnRemote: ccip.rmn_proxy,
        tokenAdminRegistry: ccip.registry,
        maxGasBufferToUpdateState: 12_000,
    };
    ccip.off_ramp = put(provider, "v2_0_0/offramp", &(fixed,)).await?;
    let aggregators = vec!["http://127.0.0.1/".to_owned()];
    let verifier_args = (
        (admin, Address::ZERO),
        aggregators,
        ccip.rmn_proxy,
        FixedBytes::<4>(TAG),
    );
    let resolver_code = super::deploy::bytecode("v2_0_0/versioned_verifier_resolver")?;
    let executor_args = (10u16, (admin, FixedBytes::<4>::ZERO, false));
    ccip.verifiers = Some(Verifiers {
        verifier: put(provider, "v2_0_0/committee_verifier", &verifier_args).await?,
        resolver: create(provider, resolver_code, "verifier resolver").await?,
        executor: put(provider, "v2_0_0/executor", &executor_args).await?,
    });
    Ok(ccip)
}

/// Opens both directions between `here` and `there`.
pub async fn wire(provider: &DynProvider, here: &Ccip, there: &Ccip) -> Result<()> {
    let Some(verifiers) = &here.verifiers else {
        anyhow::bail!("this chain has no verifiers");
    };
    let remote = VerifierRemote {
        router: here.router,
        remoteChainSelector: there.selector,
        allowlistEnabled: false,
        feeUSDCents: 5,
        gasForVerification: 50_000,
        payloadSizeBytes: 6 + 64 * u16::from(THRESHOLD),
    };
    let remotes = IVerifier::applyRemoteChainConfigUpdatesCall { updates: vec![remote] };
    call(provider, verifiers.verifier, remotes).await?;
    let members = (0..MEMBERS).map(|index| Ok(member(index)?.address()));
    let signatures = SignatureConfig {
        sourceChainSelector: there.selector,
        threshold: THRESHOLD,
        signers: members.collect::<Result<Vec<_>>>()?,
    };
    let committee = IVerifier::applySignatureConfigsCall {
        removes: Vec::new(),
        updates: vec![signatures],
    };
    call(provider, verifiers.verifier, committee).await?;
    let inbound = Inbound {
        version: FixedBytes(TAG),
        verifier: verifiers.verifier,
    };
    let outbound = Outbound {
        destChainSelector: there.selector,
        verifier: verifiers.verifier,
    };
    let inbound = IResolver::applyInboundImplementationUpdatesCall { updates: vec![inbound] };
    call(provider, verifiers.resolver, inbound).await?;
    let outbound = IResolver::applyOutboundImplementationUpdatesCall {
        updates: vec![outbound],
    };
    call(provider, verifiers.resolver, outbound).await?;
    let priced = ExecutorDest {
        destChainSelector: there.selector,
        config: ExecutorPrice {
            usdCentsFee: 10,
            enabled: true,
        },
    };
    let priced = IExecutorAdmin::applyDestChainUpdatesCall {
        removes: Vec::new(),
        adds: vec![priced],
    };
    call(provider, verifiers.executor, priced).await?;
    ramps(provider, here, there, verifiers).await?;
    set_prices(provider, here, there).await?;
    open_router(provider, here, there).await
}

async fn ramps(provider: &DynProvider, here: &Ccip, there: &Ccip, verifiers: &Verifiers) -> Result<()> {
    let dest = OnRampDest {
        destChainSelector: there.selector,
        router: here.router,
        addressBytesLength: 20,
        tokenReceiverAllowed: false,
        messageNetworkFeeUSDCents: 10,
        tokenNetworkFeeUSDCents: 25,
        baseExecutionGasCost: 150_000,
        defaultCCVs: vec![verifiers.resolver],
        laneMandatedCCVs: Vec::new(),
        defaultExecutor: verifiers.executor,
        offRamp: Bytes::copy_from_slice(there.off_ramp.as_slice()),
    };
    let dests = IOnRampAdmin::applyDestChainConfigUpdatesCall { updates: vec![dest] };
    call(provider, here.on_ramp, dests).await?;
    let source = OffRampSource {
        router: here.router,
        sourceChainSelector: there.selector,
        isEnabled: true,
        onRamps: vec![there.on_ramp.abi_encode().into()],
        defaultCCVs: vec![verifiers.resolver],
        laneMandatedCCVs: Vec::new(),
    };
    let sources = IOffRampAdmin::applySourceChainConfigUpdatesCall { updates: vec![source] };
    call(provider, here.off_ramp, sources).await
}

/// What the committee's members would serve: their signatures over a message id, unless its switch says that nobody commits.
#[derive(Debug, Clone)]
pub struct Aggregator {
    pub switches: Switches,
    /// Resolver on the chain messages arrive on.
    pub resolver: Address,
}

impl Aggregator {
    /// Version tag, length of the signatures, signatures by ascending signer; `v` is left out and taken for 27.
    fn sign(&self, message_id: B256) -> Result<Bytes> {
        let digest = keccak256([TAG.as_slice(), message_id.as_slice()].concat());
        let mut members = (0..usize::from(THRESHOLD)).map(member).collect::<Result<Vec<_>>>()?;
        members.sort_by_key(|member| member.address());
        let mut out = TAG.to_vec();
        out.extend((64 * u16::from(THRESHOLD)).to_be_bytes());
        for member in members {
            let signature = member.sign_hash_sync(&digest)?;
            let s = if signature.v() {
                ORDER.wrapping_sub(signature.s())
            } else {
                signature.s()
            };
            out.extend(signature.r().to_be_bytes::<32>());
            out.extend(s.to_be_bytes::<32>());
        }
        Ok(out.into())
    }
}

/// Order of secp256k1: the other root of a signature has the other `v`.
const ORDER: alloy::primitives::U256 =
    alloy::primitives::uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);

#[async_trait]
impl VerifierResults for Aggregator {
    async fn find(&self, message_id: B256, _: &Bytes) -> Result<Option<Verified>, AdapterError> {
        if !self.switches.get().ccip.commits {
            return Ok(None);
        }
        let signed = self.sign(message_id).map_err(|error| AdapterError::Protocol {
            attempted: "signing as the committee",
            reason: error.to_string(),
            class: Class::Bug,
        })?;
        Ok(Some(Verified {
            ccvs: vec![self.resolver],
            results: vec![signed],
        }))
    }
}
