//! One line that says what is being measured; plain lines when nobody watches a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    started: Instant,
    families: usize,
    family: String,
}

impl Progress {
    pub fn new(families: usize) -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(250));
        Self {
            bar,
            started: Instant::now(),
            families,
            family: String::new(),
        }
    }

    pub fn family(&mut self, number: usize, name: &str) {
        self.family = format!("[{number}/{}] {name}", self.families);
        self.say("starting");
    }

    /// What happens now.
    pub fn say(&self, text: &str) {
        let line = format!("{}: {text}", self.family);
        if self.bar.is_hidden() {
            eprintln!("{:5.0} s {line}", self.started.elapsed().as_secs_f32());
        } else {
            self.bar.set_message(line);
        }
    }

    /// Stays on the screen.
    pub fn keep(&self, text: &str) {
        let line = format!("{:5.0} s {}: {text}", self.started.elapsed().as_secs_f32(), self.family);
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
