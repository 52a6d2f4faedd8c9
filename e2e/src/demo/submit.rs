//! What the demo submits, and what is refused.

use super::say;
use crate::coordinator::{Job, Signed};
use crate::harness::{PATIENCE, World, error_code, fresh_payee, is_transient};
use alloy::primitives::{B256, U256};
use anyhow::{Context, Result, bail, ensure};
use futures::stream::{self, StreamExt, TryStreamExt};
use relayer::settlement::terms::TermsFields;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The published sample of AITBC and the key it verifies under; see testdata/aitbc/README.md.
const SAMPLE: &str = include_str!("../../../testdata/aitbc/sample_receipt.json");
pub const SAMPLE_KEY: &str = "4c9bc7d00f69924d1cdee40c3650a2bcbb37191de2d53d93b5f21b2d3d27dbd4";
const SAMPLE_JOB: &str = "job-abc123";
const SAMPLE_HASH: &str = "0x195326a790912e675caeb4e207d9a093b495474b37911d26f1476115450fa6f3";
/// Payees of the generated settlements.
const PAYEES: u64 = 20;
/// Unary calls a coordinator keeps open at once.
pub const IN_FLIGHT: usize = 32;
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// The real receipt and so many generated ones, signed.
pub async fn make(world: &World, generated: u64) -> Result<Vec<Signed>> {
    let mut signed = vec![sample(world).await?];
    let deadline = world.deadline().await?;
    for n in 0..generated {
        let quarters = 1 + n % 40;
        let job = world.coordinator.job("provider", quarters);
        let payee = fresh_payee(&format!("{}", n % PAYEES))?;
        signed.push(world.coordinator.settlement(&job, payee, quarters, deadline)?);
    }
    Ok(signed)
}

/// Submits over one connection, several calls at a time. What a busy machine left unanswered is submitted again, as clients do.
pub async fn all(world: &World, signed: &[Signed]) -> Result<()> {
    let client = world.client().await?;
    stream::iter(signed)
        .map(|one| {
            let mut client = client.clone();
            async move {
                let until = Instant::now() + PATIENCE;
                loop {
                    match client.submit(one.request.clone()).await {
                        Ok(_) => return Ok(()),
                        Err(status) if is_transient(&status) && Instant::now() < until => sleep(AGAIN_AFTER).await,
                        Err(status) => bail!("submit: {status}"),
                    }
                }
            }
        })
        .buffer_unordered(IN_FLIGHT)
        .try_for_each(|()| async { Ok(()) })
        .await
}

/// The real receipt: a job of AITBC at a price of 4.2, paid as 4.2 tokens.
async fn sample(world: &World) -> Result<Signed> {
    let receipt_hash: B256 = SAMPLE_HASH.parse()?;
    let job = Job {
        job_id: SAMPLE_JOB.into(),
        receipt: SAMPLE.as_bytes().to_vec(),
        receipt_hash,
    };
    let amount = world.coordinator.unit * U256::from(42) / U256::from(10);
    let fields: TermsFields =
        world
            .coordinator
            .terms(&job, fresh_payee("aitbc sample")?, amount, world.deadline().await?);
    world.coordinator.sign(&job, fields)
}

/// The same settlement again gets the original answer; its receipt under other terms is refused.
pub async fn duplicates(world: &World, signed: &[Signed]) -> Result<u64> {
    let one = signed.last().context("nothing was submitted")?;
    let again = world.submit(one).await?;
    ensure!(again.duplicate, "a repeated settlement was not recognised");
    let request = &one.request;
    let receipt = request.receipts[0].clone();
    let original = request.terms.as_ref().context("terms")?;
    let job = Job {
        job_id: String::from_utf8_lossy(&receipt)
            .split("\"job_id\":\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .unwrap_or("")
            .into(),
        receipt,
        receipt_hash: one.terms.receipt_hash,
    };
    let twice = world.coordinator.sign(
        &job,
        world
            .coordinator
            .terms(&job, fresh_payee("thief")?, one.terms.amount, original.deadline),
    )?;
    match world.client().await?.submit(twice.request).await {
        Ok(_) => bail!("the same receipt was accepted for a second payment"),
        Err(status) => {
            ensure!(
                status.code() == tonic::Code::AlreadyExists,
                "unexpected refusal: {status}"
            );
            say(format!(
                "   The same receipt under other terms was refused: {} {}",
                error_code(&status),
                status.message()
            ));
        }
    }
    Ok(1)
}
