//! `doctor`.
use super::Global;
use super::failure::{Exit, Failure};
use super::output::Output;
use clap::Args;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {}

pub(super) async fn run(_: &Global, _: DoctorArgs, _: &Output) -> Result<Exit, Failure> {
    Ok(Exit::Ok)
}
