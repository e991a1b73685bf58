//! Who takes part: every program that can be measured, what it needs, and where its version is written down.

/// How a contestant comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// Built with the programs that need nothing but this workspace.
    Cargo,
    /// Built on its own, with this feature of the contestants' package, so that a peer that cannot be built leaves the others alone.
    Peer(&'static str),
    /// Built by Go's compiler.
    Go,
}

/// Something of the system's that a contestant needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The Debian package that has it.
    pub package: &'static str,
    /// What is there when it is installed: a program, a header, or a shared object.
    pub sign: Sign,
}

/// How to see that a package is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// A program that answers to `--version`.
    Program(&'static str),
    /// A header below `/usr/include`.
    Header(&'static str),
    /// A shared object that the dynamic linker finds.
    Library(&'static str),
}

/// Where a version is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// This tree.
    Ours,
    /// A crate in the lock file of the contestants' package.
    Crate(&'static str),
    /// The Debian package that it needs.
    Package,
    /// The C library's.
    LibC,
    /// Go's compiler.
    Go,
}

/// A program that takes part in some suites.
#[derive(Clone, Copy, Debug)]
pub struct Contestant {
    /// As rows call it.
    pub id: &'static str,
    /// What it is called elsewhere.
    pub title: &'static str,
    /// Is it somebody else's?
    pub is_peer: bool,
    /// Where it comes from.
    pub build: Build,
    /// What it needs of the system.
    pub needs: Option<Need>,
    /// Its version.
    pub version: Version,
    /// Its programs, by suite.
    pub bins: &'static [(&'static str, &'static str)],
}

impl Contestant {
    /// Its program for a suite.
    pub fn bin(&self, suite: &str) -> Option<&'static str> {
        self.bins
            .iter()
            .find(|(name, _)| *name == suite)
            .map(|(_, bin)| *bin)
    }

    /// The shared object that its program is started with.
    pub fn preload(&self) -> Option<&'static str> {
        match self.needs?.sign {
            Sign::Library(name) => Some(name),
            Sign::Program(_) | Sign::Header(_) => None,
        }
    }

    /// Can it be had without fetching anything but this workspace's own dependencies?
    pub fn is_at_hand(&self) -> bool {
        self.build == Build::Cargo && self.needs.is_none()
    }
}

const OURS: Contestant = Contestant {
    id: "",
    title: "",
    is_peer: false,
    build: Build::Cargo,
    needs: None,
    version: Version::Ours,
    bins: &[],
};

/// A peer that is a crate.
const CRATE: Contestant = Contestant {
    is_peer: true,
    ..OURS
};

const fn package(package: &'static str, sign: Sign) -> Option<Need> {
    Some(Need { package, sign })
}

/// All of them.
pub const CONTESTANTS: &[Contestant] = &[
    Contestant {
        id: "goruntime",
        title: "goruntime",
        bins: &[
            ("gc", "ours_gc"),
            ("sched", "ours_sched"),
            ("sysmon", "ours_sched"),
            ("net", "ours_net"),
        ],
        ..OURS
    },
    Contestant {
        id: "gostack",
        title: "gostack",
        bins: &[("stack", "ours_stack")],
        ..OURS
    },
    Contestant {
        id: "gomem",
        title: "gomem",
        bins: &[("malloc", "malloc_gomem")],
        ..OURS
    },
    Contestant {
        id: "go",
        title: "Go",
        is_peer: true,
        build: Build::Go,
        needs: None,
        version: Version::Go,
        bins: &[
            ("gc", "go"),
            ("sched", "go"),
            ("stack", "go"),
            ("sysmon", "go"),
            ("net", "go"),
        ],
    },
    Contestant {
        id: "boehm",
        title: "Boehm-Demers-Weiser",
        build: Build::Peer("peer-boehm"),
        needs: package("libgc-dev", Sign::Header("gc/gc.h")),
        version: Version::Package,
        bins: &[("gc", "boehm")],
        ..CRATE
    },
    Contestant {
        id: "mmtk",
        title: "MMTk",
        build: Build::Peer("peer-mmtk"),
        version: Version::Crate("mmtk"),
        bins: &[("gc", "mmtk")],
        ..CRATE
    },
    Contestant {
        id: "tokio",
        title: "tokio",
        build: Build::Peer("peer-tokio"),
        version: Version::Crate("tokio"),
        bins: &[("sched", "tokio"), ("net", "tokio")],
        ..CRATE
    },
    Contestant {
        id: "may",
        title: "may",
        build: Build::Peer("peer-may"),
        version: Version::Crate("may"),
        bins: &[("sched", "may"), ("net", "may")],
        ..CRATE
    },
    Contestant {
        id: "corosensei",
        title: "corosensei",
        build: Build::Peer("peer-corosensei"),
        version: Version::Crate("corosensei"),
        bins: &[("stack", "corosensei")],
        ..CRATE
    },
    Contestant {
        id: "generator",
        title: "generator",
        build: Build::Peer("peer-generator"),
        version: Version::Crate("generator"),
        bins: &[("stack", "generator")],
        ..CRATE
    },
    Contestant {
        id: "redis",
        title: "redis-server",
        needs: package("redis-server", Sign::Program("redis-server")),
        version: Version::Package,
        bins: &[("net", "redis")],
        ..CRATE
    },
    Contestant {
        id: "glibc",
        title: "glibc",
        version: Version::LibC,
        bins: &[("malloc", "malloc_system")],
        ..CRATE
    },
    Contestant {
        id: "mimalloc2",
        title: "mimalloc 2",
        build: Build::Peer("peer-mimalloc2"),
        version: Version::Crate("libmimalloc-sys"),
        bins: &[("malloc", "malloc_mimalloc2")],
        ..CRATE
    },
    Contestant {
        id: "mimalloc3",
        title: "mimalloc 3",
        build: Build::Peer("peer-mimalloc3"),
        version: Version::Crate("libmimalloc-sys"),
        bins: &[("malloc", "malloc_mimalloc3")],
        ..CRATE
    },
    Contestant {
        id: "jemalloc",
        title: "jemalloc",
        build: Build::Peer("peer-jemalloc"),
        version: Version::Crate("tikv-jemalloc-sys"),
        bins: &[("malloc", "malloc_jemalloc")],
        ..CRATE
    },
    Contestant {
        id: "snmalloc",
        title: "snmalloc",
        build: Build::Peer("peer-snmalloc"),
        needs: package("g++", Sign::Program("c++")),
        version: Version::Crate("snmalloc-sys"),
        bins: &[("malloc", "malloc_snmalloc")],
        ..CRATE
    },
    Contestant {
        id: "tcmalloc",
        title: "tcmalloc (gperftools)",
        needs: package(
            "libtcmalloc-minimal4",
            Sign::Library("libtcmalloc_minimal.so.4"),
        ),
        version: Version::Package,
        bins: &[("malloc", "malloc_system")],
        ..CRATE
    },
];

/// The contestant of that id.
///
/// # Panics
/// When there is none: ids are written in the tables of rows, which a test holds against this one.
pub fn find(id: &str) -> &'static Contestant {
    CONTESTANTS
        .iter()
        .find(|contestant| contestant.id == id)
        .unwrap_or_else(|| panic!("no contestant {id}"))
}
