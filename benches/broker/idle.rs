//! What a broker costs that has nothing to do: processor with fetches parked on it, memory with
//! and without partitions.

use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::connection::{Connection, Wait};
use crate::process::Options;
use crate::stats::{Table, number};
use crate::target::Target;
use crate::{Plan, frames, proc};

const FETCHES: usize = 1000;
const PARTITIONS: i32 = 100;
const SETTLE: Duration = Duration::from_secs(3);

fn two_shards() -> [(&'static str, String); 1] {
    [("--shards", "2".to_owned())]
}

fn pid(target: &Target) -> i32 {
    target.pid().expect("ours").as_raw_nonzero().get()
}

/// Processor with nobody there, with idle connections, with parked fetches.
pub fn measure(plan: &Plan) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("as many files as one may have");
    let lasting = plan.lasting(10);
    let target = Target::start(plan, &two_shards());
    let topic = target.topic("idle", PARTITIONS, &[]);
    println!("\ntwo shards, park mode, over {} s each", lasting.as_secs());
    let table = Table::new(&["", "% of a core", "switches/s", "goal %"]);
    let row = |name: &str, goal: &str| {
        std::thread::sleep(SETTLE);
        let (cpu, switches) = (target.cpu(), proc::switches(pid(&target)));
        std::thread::sleep(lasting);
        let seconds = lasting.as_secs_f64();
        let percent = (target.cpu() - cpu).as_secs_f64() / seconds * 100.0;
        let switches = (proc::switches(pid(&target)) - switches) as f64 / seconds;
        table.row(&[
            name.into(),
            format!("{percent:.3}"),
            number(switches),
            goal.into(),
        ]);
    };
    row("nobody connected", "");
    let open = |_| Connection::open(target.addr, Wait::Block).expect("it listens");
    let mut connections: Vec<Connection> = (0..FETCHES).map(open).collect();
    row(&format!("{FETCHES} idle connections"), "");
    for (index, connection) in connections.iter_mut().enumerate() {
        let partition = i32::try_from(index).expect("a thousand") % PARTITIONS;
        let mut frame = frames::fetch(&topic, &[(partition, 0)], 120_000, 1 << 20);
        connection.send(&mut frame).expect("it listens");
    }
    row(&format!("{FETCHES} parked fetches"), "1");
    // They were parked, and a record wakes those of its partition.
    let mut producer = Connection::open(target.addr, Wait::Block).expect("it listens");
    let frame = frames::produce(&topic, &[0], -1, &frames::batch(1, 100));
    crate::answers::produced(producer.call(frame).expect("it answers"));
    let woken = connections[0].receive().expect("it is woken");
    assert!(
        crate::answers::fetched(woken).bytes > 0,
        "it was woken by a record"
    );
}

/// Resident memory: idle, and for each partition.
pub fn memory(plan: &Plan) {
    let target = Target::start(plan, &two_shards());
    std::thread::sleep(SETTLE);
    println!("\ntwo shards, KiB");
    let table = Table::new(&[
        "",
        "resident",
        "of it private",
        "locked",
        "pinned",
        "open files",
        "goal",
    ]);
    let row = |name: &str, goal: &str| {
        let of = |field| proc::status_kib(pid(&target), field);
        let files = proc::open_files(pid(&target)).to_string();
        let cells = [of("VmRSS"), of("RssAnon"), of("VmLck"), of("VmPin")];
        let [resident, private, locked, pinned] = cells.map(|kib| number(kib as f64));
        table.row(&[
            name.into(),
            resident,
            private,
            locked,
            pinned,
            files,
            goal.into(),
        ]);
        of("VmRSS")
    };
    let idle = row("just started", "30,720");
    let topics: Vec<(String, i32)> = (0..10)
        .map(|index| (format!("memory-{index}"), 1000))
        .collect();
    target.topics(&topics, &[]);
    std::thread::sleep(SETTLE);
    let empty = row("10,000 partitions made", "");
    crate::start::fill(target.addr, &topics);
    std::thread::sleep(SETTLE);
    let filled = row("a record in each", "");
    let (_, scratch) = (target.broker.expect("ours").stop(), target.scratch);
    let dir = scratch.path().join("data");
    let again = Options::new(&dir, &two_shards()).start();
    std::thread::sleep(SETTLE);
    let restarted = proc::status_kib(again.pid().as_raw_nonzero().get(), "VmRSS");
    println!(
        "\nafter a restart with them: {} KiB resident",
        number(restarted as f64)
    );
    let table = Table::new(&["KiB for each of 10,000 partitions", "", "goal"]);
    for (name, kib) in [
        ("empty", empty),
        ("with a record", filled),
        ("restarted", restarted),
    ] {
        let each = kib.saturating_sub(idle) as f64 / 10_000.0;
        table.row(&[name.into(), format!("{each:.2}"), "4".into()]);
    }
}
