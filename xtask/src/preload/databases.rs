//! Two database servers: one that has a process for each client, one that has a thread for each.

use super::stand::Stand;
use super::tools::same;
use crate::tools::SKIPPED;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

/// Where Debian puts the programs of the newest PostgreSQL that is installed.
fn postgresql_programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let paths = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    let number = |path: &PathBuf| -> u32 {
        let name = path.parent().and_then(|parent| parent.file_name());
        name.and_then(|name| name.to_str()?.parse().ok())
            .unwrap_or(0)
    };
    paths
        .filter(|path| path.join("postgres").exists())
        .max_by_key(number)
}

/// A new cluster under `pgbench`, whose transactions keep three sums equal.
pub fn postgresql(stand: &Stand) -> Result<String, String> {
    let Some(programs) = postgresql_programs() else {
        return Err(format!(
            "{SKIPPED}postgresql: it is missing; Debian's package postgresql has it"
        ));
    };
    // It refuses to run as root.
    let stand = stand.as_user("postgres")?;
    let program = |name: &str| stand.command(programs.join(name));
    let folder = stand.folder().display().to_string();
    let mut initdb = program("initdb");
    initdb.args([
        "-D",
        "data",
        "-U",
        "postgres",
        "-A",
        "trust",
        "--no-sync",
        "-E",
        "UTF8",
        "--locale=C",
    ]);
    stand.run(&mut initdb)?;
    let mut postgres = program("postgres");
    postgres
        .args(["-D", "data", "-k", &folder, "-h", ""])
        .args(["-c", "fsync=off", "-c", "max_connections=40"])
        .args([
            "-c",
            "max_parallel_workers_per_gather=2",
            "-c",
            "min_parallel_table_scan_size=0",
        ]);
    let mut server = stand.serve(postgres)?;
    let client = |name: &str| {
        let mut client = program(name);
        client.args(["-h", &folder, "-U", "postgres"]);
        client
    };
    server.ready(|| {
        let answer = client("pg_isready").output();
        answer.is_ok_and(|answer| answer.status.success())
    })?;
    let ask = |sql: &str| {
        stand.run(client("psql").args(["-At", "-v", "ON_ERROR_STOP=1", "-c", sql, "postgres"]))
    };

    stand.run(client("pgbench").args(["-i", "-q", "-s", "3", "postgres"]))?;
    stand.run(client("pgbench").args(["-c", "8", "-j", "2", "-t", "1500", "postgres"]))?;
    let sums = ask("select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history),
                           (select sum(tbalance) from pgbench_tellers) = (select sum(bbalance) from pgbench_branches),
                           (select sum(abalance) from pgbench_accounts) = (select sum(tbalance) from pgbench_tellers),
                           (select count(*) from pgbench_history)")?;
    same("sums", &sums, "t|t|t|12000")?;
    // Sorts and hashes that do not fit, with parallel workers; a text of 50 MB in one piece; regular expressions.
    let sorted = ask("set work_mem = '1MB';
        select count(*) from (select md5(aid::text) m, row_number() over (order by md5(aid::text)) from pgbench_accounts) s where m ~ '^[0-7]'")?;
    let counted = ask("select count(*) from pgbench_accounts where md5(aid::text) < '8'")?;
    same(
        "sorted rows",
        sorted.trim().trim_start_matches("SET").trim(),
        counted.trim(),
    )?;
    same(
        "a long text",
        &ask("select length(repeat('gomem ', 8000000))")?,
        "48000000",
    )?;
    ask(
        "create table t as select i, i::text || repeat('x', i % 300) as v from generate_series(1, 100000) i; create index on t(v); analyze t",
    )?;
    same(
        "rows",
        &ask("select count(*), sum(length(v)) from t")?,
        &format!("100000|{}", lengths()),
    )?;

    // A fast shutdown: clients are told to go.
    // SAFETY: sends a signal to a child that has not been waited for.
    unsafe { libc::kill(server.pid().cast_signed(), libc::SIGINT) };
    server.ends_well()?;
    Ok("12,000 transactions of 8 clients, sums agree; parallel sorts; an index".to_owned())
}

/// The sum of the lengths of the texts in `t`.
fn lengths() -> usize {
    (1..=100_000usize)
        .map(|i| i.to_string().len() + i % 300)
        .sum()
}

/// A new database, written by several clients at once.
pub fn mariadb(stand: &Stand) -> Result<String, String> {
    const CLIENTS: usize = 6;
    let stand = stand.as_user("mysql")?;
    let folder = stand.folder();
    let path = |name: &str| folder.join(name).display().to_string();
    let data = format!("--datadir={}", path("data"));
    let temporary = format!("--tmpdir={}", folder.display());
    let mut install = stand.command("mariadb-install-db");
    install
        .args(["--no-defaults", &data, &temporary])
        .args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
    stand.run(&mut install)?;
    let socket = format!("--socket={}", path("socket"));
    let mut mariadbd = stand.command("mariadbd");
    mariadbd
        .args([
            "--no-defaults",
            &data,
            &temporary,
            &socket,
            "--skip-networking",
        ])
        .arg(format!("--pid-file={}", path("pid")))
        .args([
            "--innodb-buffer-pool-size=64M",
            "--innodb-flush-log-at-trx-commit=0",
            "--thread-handling=pool-of-threads",
        ]);
    let mut server = stand.serve(mariadbd)?;
    let client = |sql: &str| {
        let mut client = stand.command("mariadb");
        client.args([
            "--no-defaults",
            &socket,
            "-u",
            "root",
            "-N",
            "-B",
            "-e",
            sql,
        ]);
        client
    };
    let ask = |sql: &str| stand.run(&mut client(sql));
    server.ready(|| {
        let answer: std::io::Result<_> = Command::output(&mut client("select 1"));
        answer.is_ok_and(|answer| answer.status.success())
    })?;

    ask(
        "create database d; create table d.t(id int primary key auto_increment, client int, n int, v varchar(400), key by_v(v), key by_n(n))",
    )?;
    let work = |number: usize| {
        for _ in 0..4 {
            ask(&format!(
                "use d; insert into t(client, n, v) select {number}, seq, repeat('v', seq % 400) from seq_1_to_5000"
            ))?;
            ask(&format!(
                "update d.t set v = concat(left(v, 300), '{number}') where client = {number} and n % 3 = 0"
            ))?;
            ask(
                "select client, group_concat(v order by n desc limit 50) from d.t where n % 7 = 0 group by client, n having count(*) > 0 limit 1000",
            )?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| scope.spawn(move || work(number)))
            .collect();
        let results = clients.into_iter().map(|client| client.join());
        results
            .map(|result| result.unwrap_or_else(|_| Err("a client panicked".to_owned())))
            .collect::<Result<Vec<()>, String>>()
    })?;
    let rows = CLIENTS * 4 * 5000;
    let sum = CLIENTS * 4 * (5000 * 5001 / 2);
    same(
        "rows and their sum",
        &ask("select count(*), sum(n) from d.t")?,
        &format!("{rows}\t{sum}"),
    )?;
    ask("alter table d.t add column w json default json_array(1, 2, 3), add fulltext(v)")?;
    same(
        "distinct rows",
        &ask("select count(*) from (select distinct client, n from d.t) s")?,
        &(CLIENTS * 5000).to_string(),
    )?;
    let checked = ask("check table d.t extended")?;
    if !checked.trim().ends_with("OK") {
        return Err(format!("the check of the table: {checked}"));
    }
    let resident = server.resident();
    ask("shutdown")?;
    server.ends_well()?;
    Ok(format!(
        "{rows} rows by {CLIENTS} clients, summed and checked; {resident} MB"
    ))
}
