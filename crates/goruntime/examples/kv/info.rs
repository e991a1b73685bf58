//! `INFO`: the state of the server as lines of `name:value`, in sections.

use crate::db::{Counts, Keyspace};
use crate::server::Server;
use std::fmt::{Display, Write};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

/// The version of Redis that this server behaves like; libraries look at it before they use a command.
pub const REDIS_VERSION: &str = "7.0.15";

/// Bytes in a page of memory on x86-64.
const PAGE: u64 = 4096;

/// What the section on the keyspace tells of a database.
pub struct DbFigures {
    keys: usize,
    volatile: usize,
    counts: Counts,
}

impl DbFigures {
    /// The figures of all databases.
    pub fn of(keyspace: &Keyspace) -> Vec<DbFigures> {
        let of = |db: &crate::db::Db| DbFigures {
            keys: db.len(),
            volatile: db.volatile_len(),
            counts: db.counts,
        };
        keyspace.dbs.iter().map(of).collect()
    }
}

/// The sections that `wanted` names in lower case, or all.
pub fn text(server: &Server, dbs: &[DbFigures], wanted: &[String]) -> String {
    let sections: [(&str, About); 9] = [
        ("Server", about_server),
        ("Clients", about_clients),
        ("Memory", about_memory),
        ("Persistence", about_persistence),
        ("Stats", about_stats),
        ("Replication", about_replication),
        ("Cluster", about_cluster),
        ("Keyspace", about_keyspace),
        ("Goruntime", about_goruntime),
    ];
    let all = ["all", "default", "everything"];
    let is_wanted = |name: &str| {
        let by_name = |w: &String| all.contains(&w.as_str()) || w.eq_ignore_ascii_case(name);
        wanted.is_empty() || wanted.iter().any(by_name)
    };
    let texts = sections
        .iter()
        .filter(|(name, _)| is_wanted(name))
        .map(|(name, about)| {
            let mut section = Section(format!("# {name}\r\n"));
            about(&mut section, server, dbs);
            section.0
        });
    texts.collect::<Vec<_>>().join("\r\n")
}

struct Section(String);

type About = fn(&mut Section, &Server, &[DbFigures]);

impl Section {
    fn line(&mut self, name: &str, value: impl Display) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "{name}:{value}\r\n");
    }
}

fn about_server(section: &mut Section, server: &Server, _: &[DbFigures]) {
    section.line("redis_version", REDIS_VERSION);
    section.line("server_name", "goruntime-kv");
    section.line("goruntime_version", env!("CARGO_PKG_VERSION"));
    section.line("redis_mode", "standalone");
    section.line("os", "Linux");
    section.line("arch_bits", usize::BITS);
    section.line("process_id", std::process::id());
    section.line("tcp_port", server.address.port());
    let uptime = server.started.elapsed();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    section.line("server_time_usec", now.as_micros());
    section.line("uptime_in_seconds", uptime.as_secs());
    section.line("uptime_in_days", uptime.as_secs() / 86_400);
}

fn about_clients(section: &mut Section, server: &Server, _: &[DbFigures]) {
    section.line("connected_clients", server.clients.len());
    section.line("maxclients", server.config.max_clients());
    section.line("blocked_clients", 0);
}

fn about_memory(section: &mut Section, _: &Server, _: &[DbFigures]) {
    let figures = goruntime::metrics::snapshot();
    section.line("used_memory", figures.heap_alloc);
    section.line("used_memory_human", human(figures.heap_alloc));
    let resident = resident_bytes();
    section.line("used_memory_rss", resident);
    section.line("used_memory_rss_human", human(resident));
    section.line("maxmemory", 0);
    section.line("maxmemory_human", human(0));
    section.line("maxmemory_policy", "noeviction");
    section.line("mem_allocator", "gomem");
}

fn about_persistence(section: &mut Section, _: &Server, _: &[DbFigures]) {
    section.line("loading", 0);
    section.line("rdb_bgsave_in_progress", 0);
    section.line("aof_enabled", 0);
}

fn about_stats(section: &mut Section, server: &Server, dbs: &[DbFigures]) {
    let stats = &server.stats;
    let sum = |figure: fn(&Counts) -> u64| dbs.iter().map(|db| figure(&db.counts)).sum::<u64>();
    section.line(
        "total_connections_received",
        stats.connections.load(Relaxed),
    );
    section.line("total_commands_processed", stats.commands.load(Relaxed));
    section.line("instantaneous_ops_per_sec", stats.rate.load(Relaxed));
    section.line("total_net_input_bytes", stats.input.load(Relaxed));
    section.line("total_net_output_bytes", stats.output.load(Relaxed));
    section.line("rejected_connections", stats.rejected.load(Relaxed));
    section.line("expired_keys", sum(|counts| counts.expired));
    section.line("evicted_keys", 0);
    section.line("keyspace_hits", sum(|counts| counts.hits));
    section.line("keyspace_misses", sum(|counts| counts.misses));
}

fn about_replication(section: &mut Section, _: &Server, _: &[DbFigures]) {
    section.line("role", "master");
    section.line("connected_slaves", 0);
}

fn about_cluster(section: &mut Section, _: &Server, _: &[DbFigures]) {
    section.line("cluster_enabled", 0);
}

fn about_keyspace(section: &mut Section, _: &Server, dbs: &[DbFigures]) {
    for (number, db) in dbs.iter().enumerate().filter(|(_, db)| db.keys > 0) {
        let value = format!("keys={},expires={},avg_ttl=0", db.keys, db.volatile);
        section.line(&format!("db{number}"), value);
    }
}

fn about_goruntime(section: &mut Section, _: &Server, _: &[DbFigures]) {
    let figures = goruntime::metrics::snapshot();
    section.line("goroutines", figures.goroutines);
    section.line("procs", figures.procs);
    section.line("busy_ps", figures.busy_procs);
    section.line("ms", figures.threads);
    section.line("heap_live", figures.heap_live);
    section.line("heap_goal", figures.heap_goal);
    section.line("heap_alloc", figures.heap_alloc);
    section.line("heap_sys", figures.heap_sys);
    section.line("gc_cycles", figures.gc_cycles);
    section.line("gc_last_pause_us", figures.gc_pause_last_ns / 1000);
    section.line("gc_max_pause_us", figures.gc_pause_max_ns / 1000);
    section.line("rss", resident_bytes());
    section.line("released", figures.heap_released);
}

/// Bytes of this process that are in memory; 0 if the kernel does not say.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE
}

/// Bytes as people read them, in Redis's way.
fn human(bytes: u64) -> String {
    let bytes = bytes as f64;
    for (unit, name) in [
        (1u64 << 40, "T"),
        (1 << 30, "G"),
        (1 << 20, "M"),
        (1 << 10, "K"),
    ] {
        if bytes >= unit as f64 {
            return format!("{:.2}{name}", bytes / unit as f64);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        assert_eq!(human(0), "0B");
        assert_eq!(human(1023), "1023B");
        assert_eq!(human(1536), "1.50K");
        assert_eq!(human(3 << 30), "3.00G");
    }
}
