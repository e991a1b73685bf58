//! The Redis server: under its own benchmark with threads for input and output, forked to save, reloaded, emptied in the background.
//!
//! Its digest of all keys and values must be the same before and after each of these.

use super::stand::Stand;
use super::tools::same;
use std::process::Command;
use std::time::{Duration, Instant};

/// A save takes seconds.
const SAVE_LIMIT: Duration = Duration::from_secs(120);

/// Fills the server with what is known. Strings, hashes, lists, sets and sorted sets of all sizes.
const FILL: &str = "
for i = 1, 60000 do redis.call('set', 's' .. i, string.rep('v', i % 700)) end
for i = 1, 2000 do
  for j = 1, i % 60 do
    redis.call('hset', 'h' .. i, 'f' .. j, i * j)
    redis.call('rpush', 'l' .. i, string.rep('x', j))
    redis.call('zadd', 'z' .. i, j, 'm' .. j)
    redis.call('sadd', 'e' .. i, j)
  end
end
return redis.call('dbsize')";

/// Runs it.
pub fn run(stand: &Stand) -> Result<String, String> {
    let socket = stand.folder().join("socket").display().to_string();
    let mut command = stand.command("redis-server");
    command
        .args(["--port", "0", "--unixsocket", &socket, "--daemonize", "no"])
        .args(["--save", "", "--appendonly", "no", "--dir", "."])
        .args(["--io-threads", "2", "--enable-debug-command", "yes"]);
    let mut server = stand.serve(command)?;
    let ask = |words: &[&str]| {
        let mut command = stand.command("redis-cli");
        stand.run(command.args(["-e", "-s", &socket]).args(words))
    };
    server.ready(|| {
        let mut ping = Command::new("redis-cli");
        let answer = ping.args(["-s", &socket, "ping"]).output();
        answer.is_ok_and(|answer| answer.stdout.starts_with(b"PONG"))
    })?;

    let mut load = stand.command("redis-benchmark");
    load.args(["-s", &socket, "-q", "-n", "60000", "-c", "30", "-P", "8"])
        .args(["-d", "150", "-r", "50000"])
        .args(["-t", "set,get,incr,lpush,rpush,lpop,sadd,hset,zadd,mset"]);
    stand.run(&mut load)?;
    let loaded = server.resident();
    ask(&["flushall", "async"])?;

    // Without what can only be written and never read back alike, the number of keys is known.
    let keys = 60_000 + 4 * (2000 - 2000 / 60);
    same("keys", &ask(&["eval", FILL, "0"])?, &keys.to_string())?;
    let digest = ask(&["debug", "digest"])?;
    ask(&["bgsave"])?;
    let begin = Instant::now();
    while !ask(&["info", "persistence"])?.contains("rdb_bgsave_in_progress:0") {
        if begin.elapsed() > SAVE_LIMIT {
            return Err("the child that saves does not end".to_owned());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    if !ask(&["info", "persistence"])?.contains("rdb_last_bgsave_status:ok") {
        return Err("the child that saves failed".to_owned());
    }
    ask(&["debug", "reload"])?;
    same(
        "the digest after a reload",
        &ask(&["debug", "digest"])?,
        digest.trim(),
    )?;
    // Grown and shrunk in place, so that blocks move.
    let grow = "for i = 1, 60000 do redis.call('append', 's' .. i, string.rep('w', 300)) end return redis.call('strlen', 's699')";
    same("a length", &ask(&["eval", grow, "0"])?, "999")?;
    ask(&["flushall", "async"])?;
    same("keys", &ask(&["dbsize"])?, "0")?;
    ask(&["memory", "purge"])?;
    // The server hangs up instead of answering.
    let mut shutdown = Command::new("redis-cli");
    let _ = shutdown
        .args(["-s", &socket, "shutdown", "nosave"])
        .output();
    server.ends_well()?;
    Ok(format!(
        "ten kinds of requests, {loaded} MB; saved by a child, reloaded, the same digest"
    ))
}
