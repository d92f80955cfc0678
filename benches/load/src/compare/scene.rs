//! What every broker has to go through.

/// One load, with the arguments of the generator.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scene {
    /// What it is called.
    pub(crate) name: &'static str,
    /// What the generator is told.
    pub(crate) arguments: &'static [&'static str],
    /// What a broker must be able to do.
    pub(crate) needs: Needs,
}

/// What a broker must be able to do for a scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// What all can.
    Nothing,
    /// QoS 2.
    ExactlyOnce,
    /// What is acknowledged is on a disk.
    Disk,
    /// So many nodes that forward to each other.
    Nodes(usize),
}

const fn scene(name: &'static str, arguments: &'static [&'static str]) -> Scene {
    Scene { name, arguments, needs: Needs::Nothing }
}

/// All of them.
pub(crate) const SCENES: &[Scene] = &[
    scene("pair-0", &["pair", "--clients", "50", "--qos", "0"]),
    scene("pair-1", &["pair", "--clients", "50", "--qos", "1"]),
    Scene {
        name: "pair-2",
        arguments: &["pair", "--clients", "50", "--qos", "2"],
        needs: Needs::ExactlyOnce,
    },
    scene("fan-out-0", &["fan-out", "--clients", "100", "--qos", "0"]),
    scene("fan-out-1", &["fan-out", "--clients", "100", "--qos", "1"]),
    scene("fan-in-0", &["fan-in", "--clients", "50", "--qos", "0"]),
    scene("open-1", &["pair", "--clients", "50", "--qos", "1", "--rate", "200"]),
    Scene {
        name: "cross-0",
        arguments: &["cross-node", "--clients", "50", "--qos", "0"],
        needs: Needs::Nodes(2),
    },
    Scene {
        name: "cross-1",
        arguments: &["cross-node", "--clients", "50", "--qos", "1"],
        needs: Needs::Nodes(2),
    },
    Scene {
        name: "cross-1-of-20",
        arguments: &["cross-node", "--clients", "50", "--qos", "1"],
        needs: Needs::Nodes(20),
    },
    Scene {
        name: "durable-1",
        arguments: &["pair", "--clients", "50", "--qos", "1", "--durable"],
        needs: Needs::Disk,
    },
    scene("idle", &["idle", "--clients", "5000"]),
    // One thread of the generator can do fewer logins than some brokers.
    scene("connect", &["connect", "--clients", "50", "--threads", "2"]),
];

/// The scene of a name.
pub(crate) fn parse(name: &str) -> Result<&'static Scene, String> {
    let names = || SCENES.iter().map(|scene| scene.name).collect::<Vec<_>>().join(", ");
    SCENES.iter().find(|scene| scene.name == name).ok_or_else(names)
}
