//! The clients: each a connection that does one thing after the other, and what it remembers over
//! restarts of the broker.

mod admin;
mod consumer;
mod keyed;
mod member;
mod producer;
mod session;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tailwater_broker::Broker;
use tailwater_broker::metadata::Topic;
use tailwater_shards::sync::Notify;

use crate::event::{Event, Tp};
use crate::history::{ADMIN, Command, PRODUCERS};
use crate::world::Shared;
pub(crate) use consumer::{parse, request};
pub(crate) use keyed::scan;
use producer::Stream;
use session::Session;

/// The order of a connection: its answers come as its requests went.
#[derive(Debug, Default)]
struct Answers {
    asked: Cell<u64>,
    taken: Cell<u64>,
    bell: Notify,
}

impl Answers {
    /// A new connection.
    fn begin(&self) {
        self.asked.set(0);
        self.taken.set(0);
    }

    /// The turn of the request that is sent now.
    fn ask(&self) -> u64 {
        self.asked.replace(self.asked.get() + 1)
    }

    /// Waits until everything asked before has been answered. False: the connection is over.
    async fn turn(&self, turn: u64, is_over: impl Fn() -> bool) -> bool {
        loop {
            let rung = self.bell.notified();
            if is_over() {
                return false;
            }
            if self.taken.get() == turn {
                return true;
            }
            rung.await;
        }
    }

    fn take(&self) {
        self.taken.set(self.taken.get() + 1);
        self.bell.notify_all();
    }
}

/// A client.
pub(crate) struct Client {
    pub(crate) index: u8,
    world: RefCell<Weak<Shared>>,
    queue: RefCell<VecDeque<Command>>,
    /// Streams whose unanswered batches are to be sent again.
    retries: RefCell<VecDeque<Tp>>,
    pub(crate) bell: Notify,
    /// The number of its connection: what an older one brings in does not reach it.
    connection: Cell<u64>,
    /// The last one broke, and there is no other yet.
    wants_connection: Cell<bool>,
    /// How often it has gone to the next shard.
    hops: Cell<u16>,
    busy: Cell<bool>,
    sent: Cell<u64>,
    answers: Answers,
    /// Replies that it has not taken yet.
    unread: Cell<u32>,
    streams: RefCell<BTreeMap<Tp, Stream>>,
    /// The next offset, and the epoch of the record before it.
    positions: RefCell<BTreeMap<Tp, (i64, i32)>>,
    session: RefCell<Session>,
    /// How far the compacted topic reaches, as this client has seen it.
    keyed_end: RefCell<BTreeMap<Tp, i64>>,
    memberships: RefCell<member::Memberships>,
}

impl Client {
    pub(crate) fn all() -> Vec<Rc<Client>> {
        let client = |index| {
            Rc::new(Client {
                index,
                world: RefCell::default(),
                queue: RefCell::default(),
                retries: RefCell::default(),
                bell: Notify::new(),
                connection: Cell::new(0),
                wants_connection: Cell::new(false),
                hops: Cell::new(0),
                busy: Cell::new(false),
                sent: Cell::new(0),
                answers: Answers::default(),
                unread: Cell::new(0),
                streams: RefCell::default(),
                positions: RefCell::default(),
                session: RefCell::default(),
                keyed_end: RefCell::default(),
                memberships: RefCell::default(),
            })
        };
        (0..crate::history::CLIENTS).map(client).collect()
    }

    pub(crate) fn join(&self, world: &Rc<Shared>) {
        *self.world.borrow_mut() = Rc::downgrade(world);
    }

    fn world(&self) -> Rc<Shared> {
        self.world
            .borrow()
            .upgrade()
            .expect("the world outlives its clients")
    }

    /// Where its connection is.
    pub(crate) fn shard(&self, shards: u16) -> u16 {
        (u16::from(self.index) + self.hops.get()) % shards
    }

    fn is_idempotent(&self) -> bool {
        self.index < PRODUCERS / 2
    }

    pub(crate) fn push(&self, command: Command) {
        // A client that waits for a slow broker puts off no more than this.
        if self.queue.borrow().len() < 8 {
            self.queue.borrow_mut().push_back(command);
            self.bell.notify_one();
        }
    }

    /// Its connection breaks. What was sent on it goes on, and nobody hears how it ends.
    pub(crate) fn disconnected(&self) {
        self.connection.set(self.connection.get() + 1);
        self.hops.set(self.hops.get() + 1);
        for stream in self.streams.borrow_mut().values_mut() {
            stream.lose_sight();
        }
        self.answers.bell.notify_all();
        self.wants_connection.set(true);
    }

    pub(crate) fn wants_connection(&self) -> bool {
        self.wants_connection.get()
    }

    /// The broker has started anew: nothing is left of what was sent before.
    pub(crate) fn restarted(&self) {
        self.connection.set(self.connection.get() + 1);
        for stream in self.streams.borrow_mut().values_mut() {
            stream.nothing_strays();
        }
        self.reconnected();
    }

    /// A new connection: what was not answered on the old one never is.
    pub(crate) fn reconnected(&self) {
        self.wants_connection.set(false);
        self.busy.set(false);
        self.answers.begin();
        self.unread.set(0);
        let mut retries = self.retries.borrow_mut();
        retries.clear();
        for (tp, stream) in self.streams.borrow_mut().iter_mut() {
            if stream.connection_lost() {
                retries.push_back(*tp);
            }
        }
    }

    /// Whether nothing is left to do and nothing to be answered.
    pub(crate) fn is_idle(&self) -> bool {
        !self.busy.get()
            && !self.wants_connection.get()
            && self.queue.borrow().is_empty()
            && self.streams.borrow().values().all(Stream::is_idle)
    }

    /// What it waits for, for messages.
    pub(crate) fn waits_for(&self) -> String {
        format!(
            "client {}: busy {}, {} queued, streams {:?}",
            self.index,
            self.busy.get(),
            self.queue.borrow().len(),
            self.streams.borrow().values().collect::<Vec<_>>()
        )
    }

    /// A topic by its slot's name, as this shard's image has it now.
    fn topic(&self, broker: &Broker, slot: u8) -> Option<Arc<Topic>> {
        let topic = broker.image().topic(&name(slot)).cloned()?;
        self.world().tell(Event::Met(topic.clone()));
        self.world()
            .facts
            .borrow_mut()
            .apply(&Event::Met(topic.clone()));
        Some(topic)
    }
}

/// The name of a topic.
pub(crate) fn name(slot: u8) -> String {
    format!("t{slot}")
}

fn tp_of(topic: &Topic, partition: u8) -> Tp {
    (topic.id, i32::from(partition) % topic.partitions)
}

/// A client's connection: one command after the other. A produce is done once its order is fixed.
pub(crate) async fn serve(broker: Broker, client: Rc<Client>) {
    let connection = client.connection.get();
    loop {
        let rung = client.bell.notified();
        if client.connection.get() != connection {
            // Whoever has the next one is to hear what this one was woken for.
            client.bell.notify_one();
            return;
        }
        let retry = client.retries.borrow_mut().pop_front();
        if let Some(tp) = retry {
            producer::retry(&broker, &client, tp).await;
            continue;
        }
        let command = client.queue.borrow_mut().pop_front();
        let Some(command) = command else {
            rung.await;
            continue;
        };
        client.busy.set(true);
        let world = client.world();
        world.operations.set(world.operations.get() + 1);
        match &command {
            Command::Produce(produce) => producer::produce(&broker, &client, produce).await,
            Command::SendAgain => producer::send_again(&broker, &client).await,
            Command::AskProducerId => drop(producer::ask_producer_id(&broker, &client).await),
            Command::LeaveGap { topic, partition } => {
                producer::leave_gap(&broker, &client, *topic, *partition).await;
            }
            Command::Fetch(fetch) => consumer::fetch(&broker, &client, fetch).await,
            Command::ProduceKeyed(produce) => keyed::produce(&broker, &client, produce).await,
            Command::ReadKeyed(read) => keyed::read(&broker, &client, read).await,
            Command::Group(step) => member::carry_out(&broker, &client, *step).await,
            other => {
                assert_eq!(client.index, ADMIN, "only one client administrates");
                admin::carry_out(&broker, &client, other).await;
            }
        }
        if client.connection.get() == connection {
            client.busy.set(false);
        }
    }
}
