//! What every bridge adapter must do, as checks its own tests run: `docs/adding-a-bridge.md`.
//!
//! An adapter's test describes one message of its protocol as a [`Scene`] (the receipt of a real send, and the chains at each step of the
//! message's way) and calls [`check`]; [`check_findings`] judges what its inspection says. All breaches are listed at once.
//!
//! Layout: this page holds the vocabulary; [`send`] lane, quote, call and receipt; [`arrival`] delivery and rescue; [`dark`] a chain that
//! does not answer. A crate of its own, so that the product is built without it.

mod arrival;
mod dark;
mod send;

pub use dark::Dark;

use relayer_adapter_api::{BridgeAdapter, ChainView, Class, Finding, Level, SealedMessage, TxReceipt};
use std::collections::BTreeSet;

/// How far a message is, as [`relayer_adapter_api::Delivery`] without its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    Pending,
    Attested,
    Received,
}

/// Both chains at one moment of the message's way.
pub struct Step<'a> {
    pub name: &'static str,
    pub source: &'a dyn ChainView,
    pub target: &'a dyn ChainView,
    pub rank: Rank,
    /// Whether anyone can do something for the message now.
    pub helps: bool,
}

/// One message of the protocol, from the quote to its arrival.
pub struct Scene<'a> {
    pub adapter: &'a dyn BridgeAdapter,
    /// Not committed yet; `receipt` is of its send.
    pub message: SealedMessage,
    /// The source chain at a block where the message can be quoted.
    pub source: &'a dyn ChainView,
    /// As the real protocol and our outbox emit it.
    pub receipt: TxReceipt,
    /// The protocol's id commits to what the receipt does not hold (the time of its block), so the word of our own outbox is taken for it: it
    /// names the message, and the evidence alone says what it is.
    pub id_is_announced: bool,
    /// In the order of time; the last one has [`Rank::Received`].
    pub steps: Vec<Step<'a>>,
}

impl std::fmt::Debug for Step<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Step({}, {:?})", self.name, self.rank)
    }
}

impl std::fmt::Debug for Scene<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scene")
            .field("message", &self.message)
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}

/// What an adapter does that it must not, one sentence each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Breaches(pub Vec<String>);

impl std::fmt::Display for Breaches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} breach(es):\n  {}", self.0.len(), self.0.join("\n  "))
    }
}

impl std::error::Error for Breaches {}

impl Breaches {
    fn demand(&mut self, holds: bool, rule: impl Into<String>) {
        if !holds {
            self.0.push(rule.into());
        }
    }

    fn result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

/// Everything the trait promises, over one message.
pub async fn check(scene: &Scene<'_>) -> Result<(), Breaches> {
    let mut breaches = Breaches::default();
    send::lane(scene, &mut breaches);
    if let Some(quote) = send::quote(scene, &mut breaches).await {
        send::call(scene, &quote, &mut breaches);
    }
    if let Some(reference) = send::receipt(scene, &mut breaches) {
        send::mutations(scene, &reference, &mut breaches);
        arrival::steps(scene, &reference, &mut breaches).await;
        arrival::references(scene, &reference, &mut breaches).await;
        arrival::darkness(scene, &reference, &mut breaches).await;
    }
    breaches.result()
}

/// What an inspection must say: something, each thing under a name of its own, and what to do about whatever is not fine.
pub fn check_findings(findings: &[Finding]) -> Result<(), Breaches> {
    let mut breaches = Breaches::default();
    breaches.demand(
        !findings.is_empty(),
        "an inspection that finds nothing has looked at nothing",
    );
    let mut names = BTreeSet::new();
    for finding in findings {
        let what = &finding.what;
        breaches.demand(!what.trim().is_empty(), "a finding has no name");
        breaches.demand(names.insert(what), format!("two findings are called {what:?}"));
        breaches.demand(
            !finding.found.trim().is_empty(),
            format!("{what}: says not what was found"),
        );
        let told = !finding.todo.trim().is_empty();
        breaches.demand(
            finding.level == Level::Ok || told,
            format!("{what}: says not what to do"),
        );
    }
    breaches.result()
}

/// Nothing that was read will read differently later: asking again is useless.
fn is_lasting(class: Class) -> bool {
    !matches!(class, Class::Retry { .. })
}
