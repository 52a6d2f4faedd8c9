//! A coordinator's own hub, and imports: what comes as a stream of pieces. Each piece is stored before the next is read, so a stream takes no more
//! memory than a piece, and one that breaks has lost at most the piece nobody answered.

use super::super::error::{ApiError, BODY, BUSY, Kind, STALLED, STOPPING, TOO_LARGE};
use super::super::handlers::Handlers;
use super::super::parse;
use super::{Hubs, convert};
use crate::hub::ledger::{Import, LedgerError, code_of};
use crate::hub::model::Eon;
use crate::hub::model::account::{Account, Allotment, Passive};
use crate::store::{Hub, NewHubWallet, NewTransfer, SignedState, TransferAnswer};
use alloy::primitives::{B256, U256};
use futures::{Stream, StreamExt};
use relayer_proto::v1;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Rows of one piece.
const PIECE_MAX: usize = 10_000;
/// Refusals an answer lists.
const REFUSALS_MAX: usize = 1_000;
const TX_ID_MAX: usize = 64;
const NAME_MAX: usize = 64;
const AUTHORIZATION_MAX: usize = 132;
/// Progress a slow reader may be behind.
const PROGRESS_QUEUE: usize = 64;

/// Progress, then the checkpoint or why there is none.
pub type Building = Pin<Box<dyn Stream<Item = Result<v1::BuildCheckpointResponse, ApiError>> + Send>>;

/// Pieces as they come, with the stream's place among the requests.
struct Pieces<R> {
    requests: R,
    stall: Duration,
    stop: tokio_util::sync::CancellationToken,
    _slot: OwnedSemaphorePermit,
}

impl<T, E, R> Pieces<R>
where
    R: Stream<Item = Result<T, E>> + Send + Unpin,
    E: std::fmt::Display + Send,
{
    /// None after the last.
    async fn next(&mut self) -> Result<Option<T>, ApiError> {
        let read = tokio::select! {
            () = self.stop.cancelled() => return Err(ApiError::new(Kind::Unavailable, STOPPING, "the relayer stops")),
            read = tokio::time::timeout(self.stall, self.requests.next()) => read,
        };
        match read {
            Err(_) => Err(ApiError::new(
                Kind::DeadlineExceeded,
                STALLED,
                "nothing came on the stream for too long",
            )),
            Ok(None) => Ok(None),
            Ok(Some(Ok(piece))) => Ok(Some(piece)),
            Ok(Some(Err(error))) => Err(ApiError::new(
                Kind::InvalidArgument,
                BODY,
                format!("the stream cannot be read: {error}"),
            )),
        }
    }
}

fn fits(count: usize, what: &'static str) -> Result<(), ApiError> {
    if count <= PIECE_MAX {
        return Ok(());
    }
    let message = format!("{count} {what} in one message, at most {PIECE_MAX}");
    Err(ApiError::new(Kind::InvalidArgument, TOO_LARGE, message))
}

fn short(field: &'static str, text: &str, max: usize) -> Result<(), ApiError> {
    if text.len() <= max {
        return Ok(());
    }
    Err(ApiError::field(field, format!("is longer than {max}")))
}

impl Handlers {
    fn pieces<R>(&self, requests: R) -> Result<Pieces<R>, ApiError> {
        let slot = self.slots().try_acquire_owned().map_err(|_| {
            let mut error = ApiError::new(Kind::ResourceExhausted, BUSY, "too many requests in flight");
            error.retry_after = Some(Duration::from_secs(1));
            error
        })?;
        Ok(Pieces {
            requests,
            stall: Duration::from_millis(self.limits().stream_stall_ms),
            stop: self.stop().clone(),
            _slot: slot,
        })
    }

    /// The hub, and the coordinator that writes to its ledger.
    async fn kept(
        &self,
        token: Option<&str>,
        (name, coordinator): (&str, &str),
    ) -> Result<(&Hubs, Hub, String), ApiError> {
        let coordinator = self.acts_as(token, coordinator)?;
        let hubs = self.hubs()?;
        hubs.may_write()?;
        if name.is_empty() {
            return Err(ApiError::field("hub", "is empty"));
        }
        let hub = hubs.ledger.hub(name).await?;
        let keeper = hubs.keepers.get(&hub.name);
        if keeper != Some(&coordinator) {
            let by = keeper.cloned();
            return Err(LedgerError::NotKept { hub: hub.name, by }.into());
        }
        Ok((hubs, hub, coordinator))
    }

    pub async fn register_token(
        &self,
        token: Option<&str>,
        request: v1::RegisterTokenRequest,
    ) -> Result<v1::RegisterTokenResponse, ApiError> {
        let work = async {
            let (hubs, hub, coordinator) = self.kept(token, (&request.hub, &request.coordinator)).await?;
            let address = parse::address("token", &request.token)?;
            short("name", &request.name, NAME_MAX)?;
            short("short_name", &request.short_name, NAME_MAX)?;
            let names = (request.name.as_str(), request.short_name.as_str());
            let (new, duplicate) = hubs
                .ledger
                .register_token(&hub, &coordinator, (address, request.trail), names)
                .await?;
            Ok(v1::RegisterTokenResponse {
                token: Some(convert::token(new)),
                duplicate,
            })
        };
        self.admit("RegisterToken", work).await
    }

    pub async fn admit_wallets<R, E>(
        &self,
        token: Option<&str>,
        requests: R,
    ) -> Result<v1::AdmitWalletsResponse, ApiError>
    where
        R: Stream<Item = Result<v1::AdmitWalletsRequest, E>> + Send + Unpin,
        E: std::fmt::Display + Send,
    {
        let mut pieces = self.pieces(requests)?;
        let mut of = None;
        let mut answer = v1::AdmitWalletsResponse::default();
        while let Some(piece) = pieces.next().await? {
            if of.is_none() {
                let (hubs, hub, coordinator) = self.kept(token, (&piece.hub, &piece.coordinator)).await?;
                of = Some((hubs, hub, coordinator, parse::address("token", &piece.token)?));
            }
            let Some((hubs, hub, coordinator, native)) = &of else {
                continue;
            };
            fits(piece.wallets.len(), "wallets")?;
            let wallets = piece
                .wallets
                .into_iter()
                .map(admission)
                .collect::<Result<Vec<_>, _>>()?;
            let done = hubs.ledger.admit(hub, coordinator, *native, &wallets).await?;
            answer.admitted = answer.admitted.saturating_add(done.admitted);
            answer.known = answer.known.saturating_add(done.known);
            answer.next_trail = done.next_trail;
        }
        Ok(answer)
    }

    pub async fn record_transfers<R, E>(
        &self,
        token: Option<&str>,
        requests: R,
    ) -> Result<v1::RecordTransfersResponse, ApiError>
    where
        R: Stream<Item = Result<v1::RecordTransfersRequest, E>> + Send + Unpin,
        E: std::fmt::Display + Send,
    {
        let mut pieces = self.pieces(requests)?;
        let mut of = None;
        let mut answer = v1::RecordTransfersResponse::default();
        while let Some(piece) = pieces.next().await? {
            if of.is_none() {
                let (hubs, hub, coordinator) = self.kept(token, (&piece.hub, &piece.coordinator)).await?;
                of = Some((hubs, hub, coordinator, piece.eon));
            }
            let Some((hubs, hub, coordinator, eon)) = &of else {
                continue;
            };
            fits(piece.transfers.len(), "transfers")?;
            let eon = if piece.eon == 0 { *eon } else { piece.eon };
            let transfers = piece
                .transfers
                .into_iter()
                .map(transfer)
                .collect::<Result<Vec<_>, _>>()?;
            let answers = hubs.ledger.record(hub, coordinator, Eon(eon), &transfers).await?;
            for (new, word) in transfers.iter().zip(answers) {
                count(&mut answer, new, word);
            }
        }
        Ok(answer)
    }

    /// Builds in the background; the stream tells how far it is. A client that leaves does not stop it: asking again answers what was built.
    pub async fn build_checkpoint(
        &self,
        token: Option<&str>,
        request: v1::BuildCheckpointRequest,
    ) -> Result<Building, ApiError> {
        let (hubs, hub, coordinator) = self.kept(token, (&request.hub, &request.coordinator)).await?;
        let leftover_to = parse::optional_address("leftover_to", &request.leftover_to)?;
        let slot = self.pieces(())?;
        let (say, said) = mpsc::channel(PROGRESS_QUEUE);
        let (ledger, eon) = (hubs.ledger.clone(), Eon(request.eon));
        tokio::spawn(async move {
            let _slot = slot;
            let progress = |accounts_done, accounts| {
                // A reader that is behind misses some of it.
                let _ = say.try_send(Ok(v1::BuildCheckpointResponse {
                    accounts_done,
                    accounts,
                    checkpoint: None,
                }));
            };
            let options = (leftover_to, request.rebuild);
            let built = ledger.build(&hub, &coordinator, eon, options, &progress).await;
            let last = match built {
                Ok(built) => {
                    let accumulator = ledger.accumulator(&hub, Eon(built.root.eon)).await.unwrap_or_default();
                    Ok(v1::BuildCheckpointResponse {
                        accounts_done: built.root.accounts,
                        accounts: built.root.accounts,
                        checkpoint: Some(convert::built(&hub, &built, accumulator)),
                    })
                }
                Err(error) => Err(ApiError::from(error)),
            };
            // The client may be gone.
            let _ = say.send(last).await;
        });
        Ok(Box::pin(tokio_stream::wrappers::ReceiverStream::new(said)))
    }

    pub async fn import_allotments<R, E>(
        &self,
        token: Option<&str>,
        requests: R,
    ) -> Result<v1::ImportAllotmentsResponse, ApiError>
    where
        R: Stream<Item = Result<v1::ImportAllotmentsRequest, E>> + Send + Unpin,
        E: std::fmt::Display + Send,
    {
        self.may_read(token, "import a hub's allotments")?;
        self.hubs()?.may_write()?;
        let mut pieces = self.pieces(requests)?;
        let Some(first) = pieces.next().await? else {
            return Err(ApiError::field("hub", "is empty: nothing came"));
        };
        let ledger = &self.hubs()?.ledger;
        let hub = ledger.hub(&first.hub).await?;
        let mut import = ledger.import(&hub, Eon(first.eon)).await?;
        let taken = take_all(&mut import, first, &mut pieces).await;
        if let Err(error) = taken {
            import.abandon().await;
            return Err(error);
        }
        let built = import.finish().await?;
        Ok(v1::ImportAllotmentsResponse {
            root: built.root.root.to_string(),
            contents: Some(convert::contents(&built.root, &built.commitments)),
            duplicate: built.duplicate,
        })
    }
}

async fn take_all<R, E>(
    import: &mut Import,
    first: v1::ImportAllotmentsRequest,
    pieces: &mut Pieces<R>,
) -> Result<(), ApiError>
where
    R: Stream<Item = Result<v1::ImportAllotmentsRequest, E>> + Send + Unpin,
    E: std::fmt::Display + Send,
{
    let mut next = Some(first);
    while let Some(piece) = next {
        fits(piece.accounts.len(), "accounts")?;
        let accounts = piece
            .accounts
            .into_iter()
            .map(imported)
            .collect::<Result<Vec<_>, _>>()?;
        let token = parse::optional_address("token", &piece.token)?;
        import.push(token, accounts).await?;
        next = pieces.next().await?;
    }
    Ok(())
}

fn admission(new: v1::WalletAdmission) -> Result<NewHubWallet, ApiError> {
    short("authorization", &new.authorization, AUTHORIZATION_MAX)?;
    short("operator_authorization", &new.operator_authorization, AUTHORIZATION_MAX)?;
    Ok(NewHubWallet {
        wallet: parse::address("wallet", &new.wallet)?,
        authorization: new.authorization,
        operator_authorization: new.operator_authorization,
    })
}

fn transfer(new: v1::TransferRecord) -> Result<NewTransfer, ApiError> {
    if new.tx_id.is_empty() {
        return Err(ApiError::field("tx_id", "is empty"));
    }
    short("tx_id", &new.tx_id, TX_ID_MAX)?;
    let signed = |state: v1::ActiveState| -> Result<SignedState, ApiError> {
        short("wallet_signature", &state.wallet_signature, AUTHORIZATION_MAX)?;
        Ok(SignedState {
            set_root: parse::hash("tx_set_hash", &state.tx_set_hash)?,
            spent: parse::decimal("updated_spendings", &state.updated_spendings)?,
            gained: parse::decimal("updated_gains", &state.updated_gains)?,
            signature: state.wallet_signature,
        })
    };
    Ok(NewTransfer {
        token: parse::address("token", &new.token)?,
        sender: parse::address("wallet", &new.wallet)?,
        recipient: parse::address("recipient", &new.recipient)?,
        amount: parse::decimal("amount", &new.amount)?,
        nonce: parse::decimal("nonce", &new.nonce)?,
        signed: new.active_state.map(signed).transpose()?,
        tx_id: new.tx_id,
    })
}

fn imported(account: v1::ImportedAccount) -> Result<Allotment, ApiError> {
    let hash =
        |field, text: &str| -> Result<B256, ApiError> { Ok(parse::optional_hash(field, text)?.unwrap_or_default()) };
    let number = |field, text: &str| match text {
        "" => Ok(U256::ZERO),
        text => parse::decimal(field, text),
    };
    Ok(Allotment {
        account: Account {
            wallet: parse::address("wallet", &account.wallet)?,
            active_state_checksum: hash("active_state_checksum", &account.active_state_checksum)?,
            passive: Passive {
                checksum: hash("passive_checksum", &account.passive_checksum)?,
                amount: number("passive_amount", &account.passive_amount)?,
                marker: number("passive_marker", &account.passive_marker)?,
            },
        },
        amount: parse::decimal("amount", &account.amount)?,
    })
}

fn count(answer: &mut v1::RecordTransfersResponse, new: &NewTransfer, word: TransferAnswer) {
    match word {
        TransferAnswer::Recorded => answer.recorded = answer.recorded.saturating_add(1),
        TransferAnswer::Known => answer.known = answer.known.saturating_add(1),
        TransferAnswer::Refused(refusal) => {
            answer.refused = answer.refused.saturating_add(1);
            if answer.refusals.len() < REFUSALS_MAX {
                answer.refusals.push(v1::TransferRefusal {
                    tx_id: new.tx_id.clone(),
                    code: code_of(&refusal).code.into(),
                    message: LedgerError::Transfer(refusal).to_string(),
                });
            }
        }
    }
}
