//! The real CCIP 1.6 contracts, deployed from the bytecode inside the npm package and wired as Chainlink wires them.

use super::abi::*;
use super::{DIGESTS, FAULTY, SIGNERS};
use crate::deploy::artifacts::{contracts_folder, with_args};
use crate::devnet::abi::ITestToken;
use crate::devnet::layerzero::{call, create};
use crate::devnet::{key, test_contract};
use alloy::primitives::{Address, B256, Bytes, FixedBytes, U256, aliases::U224};
use alloy::providers::DynProvider;
use alloy::sol_types::SolValue;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Audited bytecode, by version and contract.
const BYTECODE: &str = "node_modules/@chainlink/contracts-ccip/bytecode";
/// Seconds after a commit from which anyone may execute what the committee left; hours on real chains.
pub const THRESHOLD_SECONDS: u32 = 20;
pub(super) const ETHER: u64 = 1_000_000_000_000_000_000;
/// What every chain of the EVM family is to a fee quoter.
pub(super) const EVM_FAMILY: [u8; 4] = [0x28, 0x12, 0xd5, 0x2c];
/// Whole tokens in a pool and through it at once.
const LIQUIDITY: u64 = 1_000_000;

/// CCIP's contracts on one chain.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ccip {
    pub selector: u64,
    pub router: Address,
    pub rmn: Address,
    pub on_ramp: Address,
    pub off_ramp: Address,
    pub link: Address,
    /// Pool of the devnet's test token.
    pub pool: Address,
    /// What verifies messages of 2.0; none on 1.6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verifiers: Option<Verifiers>,
    pub(super) rmn_proxy: Address,
    pub(super) wrapped: Address,
    pub(super) fee_quoter: Address,
    pub(super) registry: Address,
    nonce_manager: Address,
}

/// What 2.0 has in the place of a committee on chain.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verifiers {
    /// The address messages and executions name.
    pub resolver: Address,
    pub verifier: Address,
    pub executor: Address,
}

pub(super) fn bytecode(path: &str) -> Result<Bytes> {
    let file = contracts_folder().join(BYTECODE).join(format!("{path}.bin"));
    let text = std::fs::read_to_string(&file).with_context(|| {
        format!(
            "{} is missing: run `npm ci --ignore-scripts` in contracts/",
            file.display()
        )
    })?;
    text.trim()
        .parse()
        .with_context(|| format!("{} is not bytecode", file.display()))
}

pub(super) async fn put<A: SolValue>(provider: &DynProvider, path: &str, args: &A) -> Result<Address>
where
    for<'a> <A::SolType as alloy::sol_types::SolType>::Token<'a>: alloy::sol_types::abi::TokenSeq<'a>,
{
    create(provider, with_args(&bytecode(path)?, args), path).await
}

fn dest_chain_config() -> DestChainConfig {
    DestChainConfig {
        isEnabled: true,
        maxNumberOfTokensPerMsg: 1,
        maxDataBytes: 30_000,
        maxPerMsgGasLimit: 3_000_000,
        destGasOverhead: 300_000,
        destGasPerPayloadByteBase: 16,
        destGasPerPayloadByteHigh: 40,
        destGasPerPayloadByteThreshold: 3_000,
        destDataAvailabilityOverheadGas: 100,
        destGasPerDataAvailabilityByte: 16,
        destDataAvailabilityMultiplierBps: 1,
        chainFamilySelector: FixedBytes(EVM_FAMILY),
        enforceOutOfOrder: true,
        defaultTokenFeeUSDCents: 25,
        defaultTokenDestGasOverhead: 90_000,
        defaultTxGasLimit: 200_000,
        gasMultiplierWeiPerEth: ETHER / 10 * 11,
        // Off: nobody feeds prices here.
        gasPriceStalenessThreshold: 0,
        networkFeeUSDCents: 10,
    }
}

/// What both versions stand on; ramps, quoter and pool are still to come.
pub(super) async fn base(provider: &DynProvider, selector: u64, rmn: Address) -> Result<Ccip> {
    let wrapped = create(provider, test_contract("CcipDevnet", "WrappedNative")?, "wrapped coin").await?;
    let link = create(provider, test_contract("Tokens", "PlainToken")?, "LINK").await?;
    let rmn_proxy = put(provider, "v1_0_0/rmn_proxy_contract", &(rmn,)).await?;
    let router = put(provider, "v1_2_0/router", &(wrapped, rmn_proxy)).await?;
    let registry_code = bytecode("v1_5_0/token_admin_registry")?;
    Ok(Ccip {
        selector,
        router,
        rmn,
        link,
        wrapped,
        rmn_proxy,
        registry: create(provider, registry_code, "token admin registry").await?,
        on_ramp: Address::ZERO,
        off_ramp: Address::ZERO,
        pool: Address::ZERO,
        verifiers: None,
        nonce_manager: Address::ZERO,
        fee_quoter: Address::ZERO,
    })
}

/// Deploys one chain: all but the off-ramp, which needs to know the other side's on-ramp.
pub async fn deploy(
    provider: &DynProvider,
    admin: Address,
    selector: u64,
    remote: u64,
    token: Address,
) -> Result<Ccip> {
    let rmn = put(provider, "v1_6_0/rmn_remote", &(selector, Address::ZERO)).await?;
    let mut ccip = base(provider, selector, rmn).await?;
    let Ccip {
        link,
        wrapped,
        rmn_proxy,
        router,
        registry,
        ..
    } = ccip;
    let nobody: Vec<Address> = Vec::new();
    ccip.nonce_manager = put(provider, "v1_6_0/nonce_manager", &(nobody.clone(),)).await?;
    let quoter = FeeQuoterStatic {
        maxFeeJuelsPerMsg: alloy::primitives::aliases::U96::from(200 * u128::from(ETHER)),
        linkToken: link,
        tokenPriceStalenessThreshold: 86_400,
    };
    let premiums = [(link, ETHER / 10 * 9), (wrapped, ETHER)].map(|(token, premium)| Premium {
        token,
        premiumMultiplierWeiPerEth: premium,
    });
    let dest = DestChainArgs {
        destChainSelector: remote,
        config: dest_chain_config(),
    };
    let args = (
        quoter,
        vec![admin],
        vec![link, wrapped],
        nobody.clone(),
        nobody,
        premiums.to_vec(),
        vec![dest],
    );
    ccip.fee_quoter = put(provider, "v1_6_3/fee_quoter", &args).await?;
    let fixed = OnRampStatic {
        chainSelector: selector,
        rmnRemote: rmn_proxy,
        nonceManager: ccip.nonce_manager,
        tokenAdminRegistry: registry,
    };
    let dynamic = OnRampDynamic {
        feeQuoter: ccip.fee_quoter,
        reentrancyGuardEntered: false,
        messageInterceptor: Address::ZERO,
        feeAggregator: admin,
        allowlistAdmin: Address::ZERO,
    };
    let dest = OnRampDest {
        destChainSelector: remote,
        router,
        allowlistEnabled: false,
    };
    ccip.on_ramp = put(provider, "v1_6_0/onramp", &(fixed, dynamic, vec![dest])).await?;
    let pool_args = (token, 18u16, Vec::<Address>::new(), rmn_proxy, router);
    ccip.pool = put(provider, "v1_6_1/lock_release_token_pool", &pool_args).await?;
    Ok(ccip)
}

/// Deploys the off-ramp of `here` for messages from `there`, names the committee, sets prices and opens both directions of the Router.
pub async fn wire(provider: &DynProvider, here: &mut Ccip, there: &Ccip, transmitter: Address) -> Result<()> {
    let fixed = OffRampStatic {
        chainSelector: here.selector,
        gasForCallExactCheck: 5_000,
        rmnRemote: here.rmn_proxy,
        tokenAdminRegistry: here.registry,
        nonceManager: here.nonce_manager,
    };
    let dynamic = OffRampDynamic {
        feeQuoter: here.fee_quoter,
        permissionLessExecutionThresholdSeconds: THRESHOLD_SECONDS,
        messageInterceptor: Address::ZERO,
    };
    let source = OffRampSource {
        router: here.router,
        sourceChainSelector: there.selector,
        isEnabled: true,
        isRMNVerificationDisabled: true,
        onRamp: there.on_ramp.abi_encode().into(),
    };
    here.off_ramp = put(provider, "v1_6_0/offramp", &(fixed, dynamic, vec![source])).await?;
    let committee = (0..SIGNERS).map(signer_address).collect::<Result<Vec<_>>>()?;
    // Commits are signed, executions are proven against them.
    let config = |plugin: u8, signers: Vec<Address>| OcrConfig {
        configDigest: B256::from(DIGESTS[usize::from(plugin)]),
        ocrPluginType: plugin,
        F: FAULTY,
        isSignatureVerificationEnabled: !signers.is_empty(),
        signers,
        transmitters: vec![transmitter],
    };
    let configs = vec![config(0, committee), config(1, Vec::new())];
    call(provider, here.off_ramp, IOffRampAdmin::setOCR3ConfigsCall { configs }).await?;
    let allow = |callers: Vec<Address>| AuthorizedCallers {
        addedCallers: callers,
        removedCallers: Vec::new(),
    };
    let ramps = allow(vec![here.on_ramp, here.off_ramp]);
    call(
        provider,
        here.nonce_manager,
        INonceManager::applyAuthorizedCallerUpdatesCall { callers: ramps },
    )
    .await?;
    let callers = allow(vec![here.off_ramp]);
    call(
        provider,
        here.fee_quoter,
        IFeeQuoter::applyAuthorizedCallerUpdatesCall { callers },
    )
    .await?;
    set_prices(provider, here, there).await?;
    open_router(provider, here, there).await
}

/// Prices the quoter of either version takes: the coin at 3,000 USD, LINK at 15, gas at 20 gwei.
pub(super) async fn set_prices(provider: &DynProvider, here: &Ccip, there: &Ccip) -> Result<()> {
    let usd = |whole: u64| U224::from(u128::from(whole) * u128::from(ETHER));
    let prices = Prices {
        tokenPriceUpdates: vec![
            TokenPriceUpdate {
                sourceToken: here.wrapped,
                usdPerToken: usd(3_000),
            },
            TokenPriceUpdate {
                sourceToken: here.link,
                usdPerToken: usd(15),
            },
        ],
        gasPriceUpdates: vec![GasPriceUpdate {
            destChainSelector: there.selector,
            usdPerUnitGas: U224::from(60_000_000_000_000u64),
        }],
    };
    call(provider, here.fee_quoter, IFeeQuoter::updatePricesCall { prices }).await
}

/// Messages to there leave by our on-ramp, and those from there enter by our off-ramp.
pub(super) async fn open_router(provider: &DynProvider, here: &Ccip, there: &Ccip) -> Result<()> {
    let ramp = |ramp| Ramp {
        chainSelector: there.selector,
        ramp,
    };
    let ramps = IRouterAdmin::applyRampUpdatesCall {
        onRamps: vec![ramp(here.on_ramp)],
        offRampRemoves: Vec::new(),
        offRampAdds: vec![ramp(here.off_ramp)],
    };
    call(provider, here.router, ramps).await
}

/// Address of a member of the committee.
fn signer_address(index: usize) -> Result<Address> {
    Ok(key(&format!("ccip signer {index}"))?.address())
}

/// Lets the test token through: locked here, released there, from a pool that holds plenty.
pub async fn link_tokens(
    provider: &DynProvider,
    admin: Address,
    here: &Ccip,
    there: &Ccip,
    tokens: [Address; 2],
) -> Result<()> {
    let [local, remote] = tokens;
    let propose = ITokenAdminRegistry::proposeAdministratorCall {
        localToken: local,
        administrator: admin,
    };
    call(provider, here.registry, propose).await?;
    call(
        provider,
        here.registry,
        ITokenAdminRegistry::acceptAdminRoleCall { localToken: local },
    )
    .await?;
    let set = ITokenAdminRegistry::setPoolCall {
        localToken: local,
        pool: here.pool,
    };
    call(provider, here.registry, set).await?;
    let most = u128::from(LIQUIDITY) * u128::from(ETHER);
    let limit = || RateLimit {
        isEnabled: true,
        capacity: most,
        rate: most / 1_000,
    };
    let chain = PoolChain {
        remoteChainSelector: there.selector,
        remotePoolAddresses: vec![there.pool.abi_encode().into()],
        remoteTokenAddress: remote.abi_encode().into(),
        outbound: limit(),
        inbound: limit(),
    };
    let update = ITokenPool::applyChainUpdatesCall {
        removes: Vec::new(),
        adds: vec![chain],
    };
    call(provider, here.pool, update).await?;
    let mint = ITestToken::mintCall {
        to: here.pool,
        amount: U256::from(most),
    };
    call(provider, local, mint).await
}
