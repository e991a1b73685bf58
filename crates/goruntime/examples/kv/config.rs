//! Parameters by Redis's names, as clients and tools ask for them.
//!
//! What cannot be changed here says so, rather than to accept a value and do nothing about it.

use crate::error::{Error, Result};
use crate::options::Options;
use crate::resp;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The configuration.
pub struct Config {
    bulk_limit: AtomicUsize,
    max_clients: AtomicUsize,
    options: Options,
}

/// The smallest limit for byte strings that makes sense, as in Redis.
const SMALLEST_BULK_LIMIT: usize = 1 << 20;

impl Config {
    /// The defaults, and what the command line says.
    pub fn new(options: Options) -> Config {
        Config {
            bulk_limit: AtomicUsize::new(resp::DEFAULT_BULK_LIMIT),
            max_clients: AtomicUsize::new(10_000),
            options,
        }
    }

    /// The longest byte string (`proto-max-bulk-len`).
    pub fn bulk_limit(&self) -> usize {
        self.bulk_limit.load(Relaxed)
    }

    /// The most connections at once (`maxclients`).
    pub fn max_clients(&self) -> usize {
        self.max_clients.load(Relaxed)
    }

    /// All parameters and their values.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![
            ("appendonly", "no".into()),
            ("bind", self.options.bind.clone()),
            ("databases", crate::db::DATABASES.to_string()),
            ("maxclients", self.max_clients().to_string()),
            ("maxmemory", "0".into()),
            ("maxmemory-policy", "noeviction".into()),
            ("port", self.options.port.to_string()),
            ("proto-max-bulk-len", self.bulk_limit().to_string()),
            ("save", String::new()),
            ("timeout", "0".into()),
        ]
    }

    /// Changes parameters, all or none.
    ///
    /// # Errors
    /// A parameter does not exist or cannot be changed, or a value makes no sense.
    pub fn set(&self, changes: &[(String, String)]) -> Result {
        let parameters = self.parameters();
        let mut checked = Vec::new();
        for (name, value) in changes {
            let Some((_, old)) = parameters.iter().find(|(known, _)| known == name) else {
                return Err(Error::text(format!(
                    "ERR Unknown option or number of arguments for CONFIG SET - '{name}'"
                )));
            };
            let refuse = |reason: &str| {
                Error::text(format!(
                    "ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"
                ))
            };
            let (parameter, least) = match name.as_str() {
                "proto-max-bulk-len" => (&self.bulk_limit, SMALLEST_BULK_LIMIT),
                "maxclients" => (&self.max_clients, 1),
                _ if value == old => continue,
                _ => return Err(refuse("can't set immutable config")),
            };
            let value: usize = value
                .parse()
                .map_err(|_| refuse("argument couldn't be parsed into an integer"))?;
            if value < least {
                return Err(refuse(&format!("argument must be at least {least}")));
            }
            checked.push((parameter, value));
        }
        for (parameter, value) in checked {
            parameter.store(value, Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_all_or_none() {
        let config = Config::new(Options::default());
        let set = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(n, v)| (n.to_string(), v.to_string()))
                .collect();
            config.set(&pairs).map_err(|error| error.to_string())
        };
        assert_eq!(set(&[("maxclients", "5"), ("save", "")]), Ok(()));
        assert_eq!(config.max_clients(), 5);
        for bad in [
            ("port", "1"),
            ("nonsense", "1"),
            ("maxclients", "x"),
            ("maxclients", "0"),
        ] {
            assert!(set(&[("maxclients", "6"), bad]).is_err());
            assert_eq!(config.max_clients(), 5);
        }
    }
}
