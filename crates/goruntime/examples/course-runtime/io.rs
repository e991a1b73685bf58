//! How soon a goroutine that waits for a socket runs after bytes have come, by what the other goroutines do meanwhile.
//!
//! A plain thread sends the time, now and then. With nothing else to do an M sleeps in the poller, and hears at once. Where all Ps are busy somebody has to look: whoever schedules, or, if
//! nobody does, the monitor.

use crate::point;
use goruntime::net::{TcpListener, TcpStream};
use goruntime::{go, max_procs, yield_now};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What the others do between two looks at whether it is over.
type Work = fn();

pub fn run(tiny: bool) {
    let cases: [(&str, Option<Work>); 3] = [
        ("nobody-else-runs", None),
        (
            "others-give-way-each-100-us",
            Some(|| {
                compute(Duration::from_micros(100));
                yield_now();
            }),
        ),
        (
            "others-compute",
            Some(|| compute(Duration::from_millis(100))),
        ),
    ];
    let messages = if tiny { 3 } else { 200 };
    for (series, work) in cases {
        let over = Arc::new(AtomicBool::new(false));
        let others: Vec<_> = work
            .into_iter()
            .flat_map(|work| (0..max_procs()).map(move |_| work))
            .map(|work| {
                let over = over.clone();
                go(move || {
                    while !over.load(Relaxed) {
                        work();
                    }
                })
            })
            .collect();
        let mut late = delays(messages).expect("a connection to ourselves");
        over.store(true, Relaxed);
        for other in others {
            other.join().expect("it does not panic");
        }
        late.sort_by(f64::total_cmp);
        for percent in (0..100).step_by(if tiny { 50 } else { 5 }).chain([99]) {
            point("io", series, percent, late[late.len() * percent / 100]);
        }
    }
}

/// Microseconds from sending to receiving, for some messages.
fn delays(messages: u32) -> std::io::Result<Vec<f64>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let start = Instant::now();
    let sender = std::thread::spawn(move || -> std::io::Result<()> {
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        for _ in 0..messages {
            std::thread::sleep(Duration::from_millis(7));
            let now = start.elapsed().as_nanos() as u64;
            stream.write_all(&now.to_le_bytes())?;
        }
        Ok(())
    });
    let (mut stream, _): (TcpStream, _) = listener.accept()?;
    let mut delays = Vec::new();
    let mut message = [0; 8];
    for _ in 0..messages {
        stream.read_exact(&mut message)?;
        let sent = Duration::from_nanos(u64::from_le_bytes(message));
        delays.push((start.elapsed() - sent).as_secs_f64() * 1e6);
    }
    goruntime::blocking(|| sender.join()).expect("it does not panic")?;
    Ok(delays)
}

fn compute(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}
