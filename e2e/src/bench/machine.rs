//! What the figures were measured on. No host names, no paths.

use crate::devnet::anvil::anvil_program;
use relayer_e2e_postgres::Binaries;
use serde::Serialize;
use std::path::Path;
use std::process::Command;

#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    pub cores: usize,
    pub cpu: String,
    pub memory_gib: u64,
    pub os: String,
    pub rustc: String,
    pub anvil: String,
    /// None when PostgreSQL is not installed.
    pub postgres: Option<String>,
}

fn first_line(program: impl AsRef<Path>, args: &[&str]) -> String {
    let output = Command::new(program.as_ref()).args(args).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let line = text.unwrap_or_default().lines().next().unwrap_or("").trim().to_owned();
    if line.is_empty() { "unknown".into() } else { line }
}

/// Value of the first line `name: value` or `name="value"`.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(name))?;
    let value = line
        .trim_start()
        .trim_start_matches([':', '='])
        .trim()
        .trim_matches('"');
    Some(value.to_owned())
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

impl Machine {
    pub fn look() -> Self {
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kib: u64 = memory
            .and_then(|text| text.split(' ').next()?.parse().ok())
            .unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| std::env::consts::ARCH.into()),
            memory_gib: (kib + (1 << 19)) >> 20,
            os: field(&read("/etc/os-release"), "PRETTY_NAME").unwrap_or_else(|| std::env::consts::OS.into()),
            rustc: first_line("rustc", &["--version"]),
            anvil: first_line(anvil_program(), &["--version"]).replace("Version: ", ""),
            postgres: Binaries::find()
                .map(|found| first_line(found.postgres, &["--version"]).replace("postgres (PostgreSQL)", "PostgreSQL")),
        }
    }

    pub fn sentence(&self) -> String {
        format!(
            "{} cores of {}, {} GiB, {}, {}, {}, {}",
            self.cores,
            self.cpu,
            self.memory_gib,
            self.os,
            self.rustc,
            self.anvil,
            self.postgres
                .as_deref()
                .unwrap_or("no PostgreSQL installed: its figures are missing"),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn fields_are_read_whatever_separates_them() {
        assert_eq!(field("a: 1\nMemTotal:   24 kB\n", "MemTotal").unwrap(), "24 kB");
        assert_eq!(
            field("PRETTY_NAME=\"Some OS 12\"\n", "PRETTY_NAME").unwrap(),
            "Some OS 12"
        );
        assert_eq!(field("model name\t: CPU\n", "model name").unwrap(), "CPU");
        assert_eq!(field("", "x"), None);
    }

    #[test]
    fn the_sentence_names_neither_host_nor_path() {
        let sentence = Machine::look().sentence();
        let host = read("/proc/sys/kernel/hostname");
        assert!(host.trim().is_empty() || !sentence.contains(host.trim()));
        assert!(!sentence.contains("/home"), "{sentence}");
    }
}
