//! `firn completions`.

use std::io::{self, Write};

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::{Cli, Failure, Outcome};

/// Print the completions of a shell.
#[derive(Args)]
#[command(
    after_long_help = "Examples:\n  firn completions bash > /etc/bash_completion.d/firn\n  firn completions zsh > \
'/usr/share/zsh/site-functions/_firn'\n  firn completions fish > ~/.config/fish/completions/firn.fish"
)]
pub(super) struct Completions {
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> Outcome {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "firn", &mut script);
        io::stdout().lock().write_all(&script).map_err(Failure::Output)
    }
}
