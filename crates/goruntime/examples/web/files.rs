//! Files of a folder, and of nothing outside it.

use crate::http::{Body, Response};
use goruntime::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Component, Path};

/// The file at `path` in `folder`.
pub fn send(folder: &Path, path: &str) -> Response {
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if !Path::new(path).components().all(is_plain) {
        return Response::error(403);
    }
    match open(folder, path) {
        Ok(response) => response,
        Err(error) => Response::error(match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => 404,
            ErrorKind::PermissionDenied | ErrorKind::IsADirectory => 403,
            _ => 500,
        }),
    }
}

fn open(folder: &Path, path: &str) -> io::Result<Response> {
    // A link may lead out.
    let path = fs::canonicalize(folder.join(path))?;
    if !path.starts_with(fs::canonicalize(folder)?) {
        return Err(ErrorKind::PermissionDenied.into());
    }
    let file = File::open(&path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(ErrorKind::PermissionDenied.into());
    }
    Ok(Response {
        status: 200,
        kind: kind(&path),
        body: Body::File(file, metadata.len()),
    })
}

fn kind(path: &Path) -> &'static str {
    match path.extension().and_then(|e| e.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css",
        Some("js") => "text/javascript",
        Some("json") => "application/json",
        Some("png") => "image/png",
        Some("svg") => "image/svg+xml",
        Some("txt" | "md" | "rs" | "toml") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
