//! What the processor allows: signatures and hashes, each in a loop of its own over inputs made beforehand.

use super::Bench;
use super::report::Table;
use super::stats::{both, per_second};
use crate::devnet::key;
use alloy::consensus::crypto::secp256k1::recover_signer;
use alloy::primitives::{Address, B256, Signature, keccak256};
use alloy::signers::SignerSync;
use anyhow::{Result, ensure};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey, verify_batch};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Table of this family.
pub const KEY: &str = "processor";
const ONE: &str = "1 thread";
const ALL: &str = "all cores";
/// Different inputs, so that nothing is learnt by heart.
const INPUTS: usize = 256;
/// Signatures checked together: what an intake finds waiting under load.
const TOGETHER: usize = 64;
/// As long as the canonical bytes of a receipt.
const RECEIPT_BYTES: usize = 320;

/// Runs `work(n)` on `threads` threads for `time`; operations per second of all.
fn rate(threads: usize, time: Duration, per_call: u64, work: &(dyn Fn(usize) -> bool + Sync)) -> Result<f64> {
    let started = Instant::now();
    let one = |thread: usize| {
        let (mut calls, mut fine) = (0u64, true);
        loop {
            // The clock is read once in 16 calls; it would be a tenth of a hash.
            for step in 0..16 {
                fine &= work(thread.wrapping_mul(7).wrapping_add(calls as usize + step));
            }
            calls += 16;
            if started.elapsed() >= time {
                return (calls, fine);
            }
        }
    };
    let results: Vec<(u64, bool)> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || one(thread))).collect();
        running.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let seconds = started.elapsed().as_secs_f64();
    ensure!(
        results.len() == threads && results.iter().all(|(_, fine)| *fine),
        "an operation of the processor ceilings failed"
    );
    Ok(per_second(
        results.iter().map(|(calls, _)| calls * per_call).sum(),
        seconds,
    ))
}

struct Inputs {
    digests: Vec<(Signature, B256)>,
    payer: Address,
    messages: Vec<Vec<u8>>,
    signatures: Vec<ed25519_dalek::Signature>,
    receipt_key: VerifyingKey,
}

impl Inputs {
    fn new() -> Result<Self> {
        let payer = key("payer")?;
        let receipts = SigningKey::from_bytes(&key("receipts")?.to_bytes().0);
        let mut inputs = Self {
            digests: Vec::new(),
            payer: payer.address(),
            messages: Vec::new(),
            signatures: Vec::new(),
            receipt_key: receipts.verifying_key(),
        };
        for n in 0..INPUTS {
            let digest = keccak256(n.to_be_bytes());
            inputs.digests.push((payer.sign_hash_sync(&digest)?, digest));
            let message: Vec<u8> = digest.iter().copied().cycle().take(RECEIPT_BYTES).collect();
            inputs.signatures.push(receipts.sign(&message));
            inputs.messages.push(message);
        }
        Ok(inputs)
    }

    fn recover(&self, n: usize) -> bool {
        let (signature, digest) = &self.digests[n % INPUTS];
        recover_signer(signature, *digest).is_ok_and(|address| address == self.payer)
    }

    fn verify(&self, n: usize) -> bool {
        let n = n % INPUTS;
        self.receipt_key
            .verify_strict(&self.messages[n], &self.signatures[n])
            .is_ok()
    }

    fn verify_together(&self, n: usize) -> bool {
        let from = n * TOGETHER % INPUTS;
        let range = from..from + TOGETHER;
        let messages: Vec<&[u8]> = self.messages[range.clone()].iter().map(Vec::as_slice).collect();
        verify_batch(&messages, &self.signatures[range], &[self.receipt_key; TOGETHER]).is_ok()
    }
}

pub async fn run(bench: &Bench) -> Result<Vec<Table>> {
    let inputs = Inputs::new()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let time = Duration::from_millis(if bench.quick { 400 } else { 2_000 });
    let mut table = Table::new(
        KEY,
        "Processor",
        &[ONE, ALL],
        &format!(
            "Loops over {INPUTS} inputs made beforehand, with the functions the relayer calls. Receipts of {RECEIPT_BYTES} bytes; batches of \
             {TOGETHER} signatures. A settlement needs one of each signature: the signature ceiling is one recovery and one batched \
             verification, one after the other, on all cores."
        ),
    );
    let blocks = [[7u8; 64].to_vec(), [7u8; 1_024].to_vec()];
    type Work<'a> = &'a (dyn Fn(usize) -> bool + Sync);
    let hash = |block: &[u8], n: usize| {
        black_box(keccak256(&block[n % 2..]));
        true
    };
    let hash_short: Work = &|n| hash(&blocks[0], n);
    let hash_long: Work = &|n| hash(&blocks[1], n);
    let rows: [(&str, &str, u64, Work); 5] = [
        ("secp256k1_recover", "secp256k1 recoveries", 1, &|n| inputs.recover(n)),
        ("ed25519_verify", "Ed25519 verifications, one by one", 1, &|n| {
            inputs.verify(n)
        }),
        (
            "ed25519_verify_batched",
            "Ed25519 verifications, batched",
            TOGETHER as u64,
            &|n| inputs.verify_together(n),
        ),
        ("keccak_64", "keccak256 of 64 bytes", 1, hash_short),
        ("keccak_1024", "keccak256 of 1 KiB", 1, hash_long),
    ];
    for (key, what, per_call, work) in rows {
        bench.progress.say(what);
        let measured = [rate(1, time, per_call, work)?, rate(cores, time, per_call, work)?];
        table.row(key, what, "1/s", measured.map(Some).to_vec());
    }
    let ceiling = |column| {
        let of = |key| table.get(key, column).unwrap_or_default();
        Some(both(of("secp256k1_recover"), of("ed25519_verify_batched")))
    };
    let ceilings = vec![ceiling(ONE), ceiling(ALL)];
    table.row("signatures", "signature ceiling, settlements", "1/s", ceilings);
    Ok(vec![table])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn every_input_is_valid_at_any_position() {
        let inputs = Inputs::new().unwrap();
        for n in [0, 1, 3, 255, 256, 1_000] {
            assert!(
                inputs.recover(n) && inputs.verify(n) && inputs.verify_together(n),
                "{n}"
            );
        }
    }

    #[test]
    fn a_failing_operation_voids_the_rate() {
        assert!(rate(2, Duration::from_millis(1), 1, &|_| false).is_err());
        assert!(rate(2, Duration::from_millis(1), 1, &|_| true).unwrap() > 0.0);
    }
}
