//! Looking into the running program over HTTP: a live page, profiles for `go tool pprof`, figures for Prometheus.
//!
//! ```no_run
//! goruntime::debug::serve("127.0.0.1:6060")?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! | path | what |
//! | --- | --- |
//! | `/debug/` | the program as it is now, in a browser: goroutines, run queues, heap, pauses, places of allocation |
//! | `/debug/pprof/` | an index of profiles, as Go's `net/http/pprof` has it; `go tool pprof http://127.0.0.1:6060/debug/pprof/profile` |
//! | `/debug/vars` | the command line and memory as JSON, as Go's `expvar` has it |
//! | `/debug/live` | what the page shows, as JSON |
//! | `/metrics` | [`metrics::prometheus`](crate::metrics::prometheus) |
//!
//! # A server of your own
//!
//! [`respond`] gives the response to a request, whatever server it came by. It takes the time that the request asks for (`profile?seconds=30`), on the goroutine that
//! calls.
//!
//! ```
//! use goruntime::debug::{Request, respond};
//!
//! let response = respond(Request::get("/metrics"));
//! assert_eq!(response.status, 200);
//! ```
//!
//! # Who may look
//!
//! Whoever reaches these pages learns the program's arguments, the names of its functions, what its goroutines do; and can have it profile itself, stop the world and look
//! at everything as often as they like. So [`serve`] takes addresses of this machine's own (loopback) only, and refuses what a page of another origin has a browser ask
//! for, also under a name that was made to lead here (DNS rebinding). [`serve_anyone`] is for networks on which everybody may look; it has no passwords. Behind a server of
//! your own, let your own checks come before [`respond`].

pub(crate) mod http;
mod json;
mod live;
mod pprof;
mod server;

pub use http::{Request, Response};
pub use server::{Server, serve, serve_anyone};

/// The page.
const PAGE: &str = include_str!("dashboard.html");

/// Nothing but the page itself may run in it, and it may ask nobody but its server.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'";

/// The response to a request: 404 for paths that are none of those [above](self).
pub fn respond(request: Request<'_>) -> Response {
    if !matches!(request.method, "GET" | "HEAD" | "POST") {
        return Response::text(405, "only GET, HEAD and POST are answered");
    }
    let path = request.path();
    if let Some(profile) = path.strip_prefix("/debug/pprof/") {
        return pprof::respond(profile, &request);
    }
    match path {
        "/debug/" => Response::new(200, "text/html; charset=utf-8", PAGE)
            .with("Content-Security-Policy", POLICY),
        "/debug" => moved("/debug/"),
        "/debug/pprof" => moved("/debug/pprof/"),
        "/debug/live" => Response::new(200, "application/json", live::live()),
        "/debug/vars" => Response::new(200, "application/json", live::vars()),
        "/metrics" => {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            Response::new(200, kind, crate::metrics::prometheus())
        }
        _ => Response::text(404, "no such page; /debug/ is one"),
    }
}

fn moved(to: &str) -> Response {
    Response::text(301, "it is there").with("Location", to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(target: &str) -> Response {
        respond(Request::get(target))
    }

    #[test]
    fn paths_have_what_they_say() {
        for (path, kind, part) in [
            ("/debug/", "text/html; charset=utf-8", "<!doctype html>"),
            ("/debug/live", "application/json", "\"goroutines\""),
            ("/debug/vars", "application/json", "\"memstats\""),
            (
                "/metrics?x=1",
                "text/plain; version=0.0.4; charset=utf-8",
                "go_goroutines",
            ),
            ("/debug/pprof/", "text/html; charset=utf-8", "heap"),
        ] {
            let response = get(path);
            assert_eq!(response.status, 200, "{path}");
            assert_eq!(response.header("Content-Type"), Some(kind), "{path}");
            let body = String::from_utf8(response.body).unwrap();
            assert!(body.contains(part), "{path}: {body}");
        }
    }

    #[test]
    fn what_there_is_not_is_said() {
        assert_eq!(get("/").status, 404);
        assert_eq!(get("/debug/pprof/nothing").status, 404);
        assert_eq!(get("/debug").header("Location"), Some("/debug/"));
        let request = Request {
            method: "DELETE",
            ..Request::get("/debug/")
        };
        assert_eq!(respond(request).status, 405);
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            let uses = PAGE.matches(outside).count();
            // The name of SVG's namespace is no address.
            let namespaces = PAGE.matches("http://www.w3.org/2000/svg").count();
            let allowed = if outside == "http://" { namespaces } else { 0 };
            assert_eq!(uses, allowed, "{outside}");
        }
    }
}
