//! `/debug/pprof/`: profiles, as Go's `net/http/pprof` gives them out.
//!
//! Parameters are Go's: `debug=1` for text (`debug=2` of goroutines and of leaked ones: each with its calls), `seconds=N` for what comes in that time, `gc=1` for a collection before a heap profile.
//! Waits are looked at while somebody waits for a profile of them, if the program does not have them looked at anyway.

use super::http::{Request, Response};
use crate::goroutines::{
    self,
    symbols::{Symbols, forget},
};
use crate::profile::{self, Profile};
use crate::trace::Format;
use std::fmt::Write;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A profile that can be asked for by name.
struct Offer {
    name: &'static str,
    about: &'static str,
    take: fn() -> io::Result<Profile>,
}

const OFFERS: &[Offer] = &[
    Offer {
        name: "allocs",
        about: "What was ever allocated, by place: a sample.",
        take: || Ok(profile::allocs()),
    },
    Offer {
        name: "block",
        about: "How long goroutines waited for locks, channels and each other, by place. seconds=N looks for that long.",
        take: || Ok(profile::block()),
    },
    Offer {
        name: "goroutine",
        about: "Where every goroutine stands. debug=2 lists each one with its calls.",
        take: profile::goroutines,
    },
    Offer {
        name: "goroutineleak",
        about: "Where the goroutines stand that nobody can wake any more. debug=2 lists each one with its calls.",
        take: profile::goroutine_leaks,
    },
    Offer {
        name: "heap",
        about: "What lives on the heap, by place of allocation: a sample. gc=1 collects before.",
        take: || Ok(profile::heap()),
    },
    Offer {
        name: "mutex",
        about: "Who made others wait for locks, at the places where the locks were let go. seconds=N looks for that long.",
        take: || Ok(profile::mutex()),
    },
    Offer {
        name: "threadcreate",
        about: "Threads that run goroutines.",
        take: || Ok(profile::threads()),
    },
];

/// What is there besides.
const OTHERS: &[(&str, &str)] = &[
    (
        "cmdline",
        "The command line, its parts separated by zero bytes.",
    ),
    (
        "profile",
        "Where processor time goes in the next seconds=N, 30 if it is not said.",
    ),
    (
        "symbol",
        "Names of functions by address: addresses, separated by +, in the query or the body.",
    ),
    (
        "trace",
        "What happens in the next seconds=N, 1 if it is not said: for go tool trace, or with format=perfetto for ui.perfetto.dev.",
    ),
];

/// No profile takes longer.
const LONGEST: Duration = Duration::from_secs(3600);

/// The response for `/debug/pprof/` and a name.
pub(super) fn respond(name: &str, request: &Request<'_>) -> Response {
    match name {
        "" => Response::new(200, "text/html; charset=utf-8", index()),
        "cmdline" => Response::new(200, TEXT, cmdline()),
        "profile" => cpu(request),
        "symbol" => Response::new(200, TEXT, symbols(request)),
        "trace" => trace(request),
        _ => match OFFERS.iter().find(|offer| offer.name == name) {
            Some(offer) => offered(offer, request),
            None => Response::text(404, "Unknown profile"),
        },
    }
}

const TEXT: &str = "text/plain; charset=utf-8";

/// A whole number, 0 if it is not there.
fn number(request: &Request<'_>, name: &str) -> u64 {
    let value = request.parameter(name);
    value.and_then(|v| v.parse().ok()).unwrap_or(0)
}

fn failed(why: &io::Error) -> Response {
    let status = match why.kind() {
        io::ErrorKind::Unsupported => 501,
        _ => 500,
    };
    Response::text(status, &why.to_string())
}

fn cpu(request: &Request<'_>) -> Response {
    let seconds = match number(request, "seconds") {
        0 => 30,
        seconds => seconds,
    };
    match profile::cpu(Duration::from_secs(seconds).min(LONGEST)) {
        Ok(profile) => written(&profile, "profile", number(request, "debug")),
        Err(why) => Response::text(500, &format!("Could not enable CPU profiling: {why}")),
    }
}

fn trace(request: &Request<'_>) -> Response {
    /// What is written, for whoever asked.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Shared {
        fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.bytes().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let seconds = request.parameter("seconds");
    let seconds = seconds.and_then(|s| s.parse::<f64>().ok());
    let seconds = seconds.filter(|&s| s > 0.0).unwrap_or(1.0);
    let duration = Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST);
    let (format, name) = match request.parameter("format").as_deref() {
        Some("perfetto") => (Format::Perfetto, "trace.pftrace"),
        Some("go") | None => (Format::Go, "trace.out"),
        Some(_) => return Response::text(400, "format is go or perfetto"),
    };
    let body = Shared::default();
    let taken = crate::trace::start(format, body.clone()).and_then(|trace| {
        gosched::sleep(duration.min(LONGEST));
        trace.stop()
    });
    match taken {
        Ok(_) => {
            let body = std::mem::take(&mut *body.bytes());
            Response::new(200, "application/octet-stream", body).with(
                "Content-Disposition",
                &format!("attachment; filename=\"{name}\""),
            )
        }
        Err(why) => Response::text(500, &format!("Could not enable tracing: {why}")),
    }
}

fn offered(offer: &Offer, request: &Request<'_>) -> Response {
    let debug = number(request, "debug");
    if matches!(offer.name, "heap" | "allocs") {
        profile::start_heap();
        if number(request, "gc") > 0 {
            crate::gc::collect();
        }
    }
    if offer.name.starts_with("goroutine") && debug >= 2 {
        let mut body = Vec::new();
        let written = match offer.name {
            "goroutineleak" => {
                goroutines::leaked().and_then(|leaked| goroutines::write_stacks(leaked, &mut body))
            }
            _ => goroutines::write_all(&mut body),
        };
        return match written {
            Ok(()) => Response::new(200, TEXT, body),
            Err(why) => failed(&why),
        };
    }
    if request.parameter("seconds").is_some() {
        return difference(offer, number(request, "seconds"), debug);
    }
    match (offer.take)() {
        Ok(profile) => written(&profile, offer.name, debug),
        Err(why) => failed(&why),
    }
}

/// What comes in so many seconds.
fn difference(offer: &Offer, seconds: u64, debug: u64) -> Response {
    if seconds == 0 {
        return Response::text(400, "seconds must be a number above zero");
    }
    let _watching = profile::Watching::begin(offer.name);
    let before = match (offer.take)() {
        Ok(profile) => profile,
        Err(why) => return failed(&why),
    };
    gosched::sleep(Duration::from_secs(seconds).min(LONGEST));
    match (offer.take)() {
        Ok(after) => written(&after.since(&before), offer.name, debug),
        Err(why) => failed(&why),
    }
}

fn written(profile: &Profile, name: &str, debug: u64) -> Response {
    let mut body = Vec::new();
    let result = match debug {
        0 => profile.write_pprof(&mut body),
        _ => profile.write_text(&mut body),
    };
    match result {
        Err(why) => failed(&why),
        Ok(()) if debug > 0 => Response::new(200, TEXT, body),
        Ok(()) => Response::new(200, "application/octet-stream", body).with(
            "Content-Disposition",
            &format!("attachment; filename=\"{name}\""),
        ),
    }
}

fn cmdline() -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    let arguments: Vec<_> = std::env::args_os().collect();
    let parts: Vec<&[u8]> = arguments.iter().map(|part| part.as_bytes()).collect();
    parts.join(&0)
}

fn symbols(request: &Request<'_>) -> String {
    let body = String::from_utf8_lossy(request.body);
    let wanted = match request.method {
        "POST" => &*body,
        _ => request.query(),
    };
    // Readers only ask whether there are any.
    let mut text = "num_symbols: 1\n".to_owned();
    let mut symbols = Symbols::default();
    for word in wanted.split('+') {
        let digits = word.trim().trim_start_matches("0x");
        let Ok(address @ 1..) = usize::from_str_radix(digits, 16) else {
            continue;
        };
        let call = symbols.at(address).last().cloned();
        if let Some(call) = call.filter(|call| !call.function.starts_with(['0', '['])) {
            // A string takes everything.
            let _ = writeln!(text, "{address:#x} {}", call.function);
        }
    }
    forget();
    text
}

fn index() -> String {
    let mut rows = String::new();
    let offers = OFFERS.iter().map(|offer| (offer.name, offer.about));
    let mut all: Vec<_> = offers.chain(OTHERS.iter().copied()).collect();
    all.sort_unstable();
    for (name, about) in all {
        let link = match name {
            "profile" => "profile?seconds=5",
            "trace" => "trace?seconds=1",
            "cmdline" | "symbol" => name,
            _ => &format!("{name}?debug=1"),
        };
        // A string takes everything.
        let _ = writeln!(
            rows,
            "<tr><td><a href=\"{link}\">{name}</a></td><td>{about}</td></tr>"
        );
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>/debug/pprof/</title>\n\
         <style>body{{font:15px/1.5 system-ui,sans-serif;margin:2rem;color-scheme:light dark}}td{{padding:.2rem 1.5rem .2rem 0;vertical-align:top}}</style></head>\n\
         <body><h1>/debug/pprof/</h1>\n<p><a href=\"../\">The program, live</a> · <a href=\"goroutine?debug=2\">every goroutine with its calls</a></p>\n\
         <table>\n{rows}</table>\n<p>Links lead to text; without <code>debug</code> a profile is for <code>go tool pprof</code>.</p></body></html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::super::respond;
    use super::*;

    fn text(target: &str) -> String {
        let response = respond(Request::get(target));
        assert_eq!(response.status, 200, "{target}");
        String::from_utf8(response.body).unwrap()
    }

    #[test]
    fn texts_have_the_heads_that_readers_know() {
        for (name, head) in [
            ("heap", "heap profile: "),
            ("allocs", "heap profile: "),
            ("goroutine", "goroutine profile: total "),
            ("threadcreate", "threadcreate profile: total "),
            (
                "mutex",
                "--- mutex:\ncycles/second=1000000000\nsampling period=",
            ),
            ("block", "--- contention:\ncycles/second=1000000000\n"),
        ] {
            let text = text(&format!("/debug/pprof/{name}?debug=1"));
            assert!(text.starts_with(head), "{name}: {text}");
        }
    }

    #[test]
    fn profiles_are_compressed_and_named() {
        let here = OFFERS.iter().filter(|offer| offer.name != "goroutineleak");
        for offer in here {
            let target = format!("/debug/pprof/{}", offer.name);
            let response = respond(Request::get(&target));
            assert_eq!(response.body[..2], [0x1f, 0x8b], "{target}");
            let disposition = response.header("Content-Disposition").unwrap();
            assert!(disposition.contains(offer.name), "{disposition}");
        }
    }

    /// Of what is reachable nothing is known where the allocator is another, as in these tests.
    #[test]
    fn what_cannot_be_had_is_refused_with_the_reason() {
        for target in ["goroutineleak", "goroutineleak?debug=2"] {
            let response = respond(Request::get(&format!("/debug/pprof/{target}")));
            let why = String::from_utf8(response.body).unwrap();
            assert_eq!(response.status, 501, "{why}");
            assert!(
                why.contains("global allocator") || cfg!(feature = "thread-engine"),
                "{why}"
            );
        }
    }

    #[test]
    fn symbols_are_looked_up_by_query_and_by_body() {
        let address = texts_have_the_heads_that_readers_know as *const () as usize;
        let query = format!("/debug/pprof/symbol?{address:#x}+0x0");
        let by_query = text(&query);
        assert!(by_query.contains("texts_have_the_heads"), "{by_query}");
        let body = format!("{address:#x}");
        let request = Request {
            method: "POST",
            target: "/debug/pprof/symbol",
            body: body.as_bytes(),
        };
        let by_body = String::from_utf8(respond(request).body).unwrap();
        assert_eq!(by_body, by_query);
    }

    #[test]
    fn seconds_must_be_a_number() {
        for target in ["heap?seconds=x", "mutex?seconds=0"] {
            let target = format!("/debug/pprof/{target}");
            assert_eq!(respond(Request::get(&target)).status, 400);
        }
    }

    #[test]
    fn the_command_line_is_there() {
        let first = std::env::args().next().unwrap();
        assert!(text("/debug/pprof/cmdline").starts_with(&first));
    }
}
