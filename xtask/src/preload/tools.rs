//! Programs that run to their end: version control, an embedded database, compilers, a stressor, a checker.

use super::stand::Stand;
use crate::workspace;
use std::fs;

/// Fails unless both are the same.
pub fn same(what: &str, found: &str, expected: &str) -> Result<(), String> {
    let found = found.trim();
    match found == expected {
        true => Ok(()),
        false => Err(format!("{what}: {found}, and not {expected}")),
    }
}

/// A history of a few hundred files: committed, packed with threads, checked, cloned.
pub fn git(stand: &Stand) -> Result<String, String> {
    let git = |words: &[&str]| {
        let mut command = stand.command("git");
        command
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .args([
                "-c",
                "user.name=a",
                "-c",
                "user.email=a@b",
                "-c",
                "pack.threads=3",
            ])
            .args(["-c", "init.defaultBranch=main", "-c", "gc.auto=0"])
            .args(words);
        stand.run(&mut command)
    };
    git(&["init", "-q", "here"])?;
    let here = stand.folder().join("here");
    let told = |why: std::io::Error| format!("{}: {why}", here.display());
    for commit in 0..20usize {
        for file in 0..200usize {
            let lines = 1 + (file * 7 + commit) % 50;
            let text: String = (0..lines)
                .map(|line| format!("{file} {commit} {line}\n"))
                .collect();
            fs::write(here.join(format!("file{file}")), text).map_err(told)?;
        }
        git(&["-C", "here", "add", "."])?;
        git(&[
            "-C",
            "here",
            "commit",
            "-q",
            "-m",
            &format!("commit {commit}"),
        ])?;
    }
    git(&["-C", "here", "gc", "-q", "--aggressive"])?;
    git(&["-C", "here", "fsck", "--full", "--strict"])?;
    git(&["clone", "-q", "--no-local", "here", "there"])?;
    let head = git(&["-C", "here", "rev-parse", "HEAD"])?;
    same(
        "the clone's head",
        &git(&["-C", "there", "rev-parse", "HEAD"])?,
        head.trim(),
    )?;
    same(
        "commits",
        &git(&["-C", "there", "rev-list", "--count", "HEAD"])?,
        "20",
    )?;
    git(&["-C", "there", "blame", "file7"])?;
    same(
        "changes",
        &git(&["-C", "there", "status", "--porcelain"])?,
        "",
    )?;
    Ok("20 commits of 200 files, packed, checked and cloned".to_owned())
}

/// A table with an index, changed, summed and checked.
pub fn sqlite(stand: &Stand) -> Result<String, String> {
    let script = "
        create table t(id integer primary key, name text, value integer);
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 200000)
            insert into t select i, printf('%0*d', 1 + i % 90, i), i % 1000 from n;
        create index by_value on t(value, name);
        update t set name = name || 'x' where value < 100;
        delete from t where id % 10 = 0;
        vacuum;
        select count(*), sum(value), sum(length(name)) from t;
        select count(*) from (select a.id from t a join t b on a.value = b.value and a.id < b.id where a.value < 20);
        pragma integrity_check;";
    let said = stand.sh(&["sqlite3", "base", script])?;
    // Computed by hand: 180,000 rows are left, and among the values below 20 there are 18 that are no multiples of ten, with 200 rows each.
    let pairs = 18 * (200 * 199 / 2);
    let lines: Vec<&str> = said.lines().collect();
    let [sums, joined, integrity] = lines[..] else {
        return Err(format!("it said: {said}"));
    };
    same(
        "rows and their sum",
        &sums[..sums.rfind('|').unwrap_or(0)],
        "180000|90000000",
    )?;
    same("pairs", joined, &pairs.to_string())?;
    same("integrity", integrity, "ok")?;
    Ok("200,000 rows written, changed, joined and checked".to_owned())
}

/// The compiler proper and the linker; the program must then say what it should.
pub fn compiler(stand: &Stand) -> Result<String, String> {
    let source = "
        #include <algorithm>
        #include <iostream>
        #include <map>
        #include <regex>
        #include <string>
        #include <vector>
        int main() {
            std::map<std::string, std::vector<int>> words;
            for (int i = 0; i < 100000; i++) words[std::to_string(i % 1000)].push_back(i);
            std::regex some(\"[0-9]*7\");
            long sum = 0;
            for (auto &[word, numbers] : words)
                if (std::regex_match(word, some)) sum += numbers.back();
            std::cout << words.size() << ' ' << sum << std::endl;
        }";
    let file = stand.folder().join("program.cpp");
    fs::write(&file, source).map_err(|why| format!("{}: {why}", file.display()))?;
    stand.sh(&[
        "c++",
        "-std=c++17",
        "-O2",
        "-g",
        "-o",
        "program",
        "program.cpp",
    ])?;
    // 7, 17, ... 997, the last of each being 99,000 more.
    let sum: u64 = (7..1000).step_by(10).map(|n: u64| 99_000 + n).sum();
    same(
        "the program's sum",
        &stand.sh(&["./program"])?,
        &format!("1000 {sum}"),
    )?;
    Ok("compiled a program in C++ and ran it".to_owned())
}

/// Valgrind with its own malloc in the place of ours, and with ours as plain code that it watches.
pub fn valgrind(stand: &Stand) -> Result<String, String> {
    for malloc in ["somalloc=*malloc*", "somalloc=nouserintercepts"] {
        stand.sh(&[
            "valgrind",
            "--quiet",
            "--error-exitcode=9",
            &format!("--soname-synonyms={malloc}"),
            "/bin/ls",
            "-l",
            "/",
        ])?;
    }
    Ok("start-up and end are clean, with its malloc and with ours".to_owned())
}

/// A build of the runtime with every process of it on the library.
pub fn cargo(stand: &Stand) -> Result<String, String> {
    let mut build = workspace::cargo(["build", "-p", "goruntime", "--target-dir"]);
    build.arg(stand.folder().join("target"));
    stand.run(&mut build)?;
    match stand
        .folder()
        .join("target/debug/libgoruntime.rlib")
        .exists()
    {
        true => Ok("built the runtime".to_owned()),
        false => Err("there is no library after the build".to_owned()),
    }
}

/// Verifies what it wrote into its blocks.
pub fn stress(stand: &Stand) -> Result<String, String> {
    stand.sh(&[
        "stress-ng",
        "--malloc",
        "2",
        "--malloc-pthreads",
        "2",
        "--malloc-ops",
        "3000000",
        "--malloc-bytes",
        "64K",
        "--malloc-max",
        "4000",
        "--malloc-touch",
        "--verify",
        "--timeout",
        "120",
        "--temp-path",
        ".",
    ])?;
    Ok("3,000,000 operations, verified".to_owned())
}
