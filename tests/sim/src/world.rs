//! What the tasks of a history share: the clients, the model and the properties.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use crate::Violation;
use crate::clients::Client;
use crate::event::Event;
use crate::facts::Facts;
use crate::groups::Told;
use crate::properties::Property;

/// One history's state outside of the machine.
pub(crate) struct Shared {
    pub(crate) seed: u64,
    pub(crate) facts: RefCell<Facts>,
    pub(crate) clients: Vec<Rc<Client>>,
    properties: RefCell<Vec<Box<dyn Property>>>,
    events: RefCell<VecDeque<Event>>,
    pub(crate) violation: RefCell<Option<Violation>>,
    pub(crate) step: Cell<usize>,
    pub(crate) operations: Cell<u64>,
    pub(crate) next_fetch: Cell<u64>,
    /// The number of the next record of the compacted topic.
    pub(crate) keyed_ids: Cell<u64>,
    /// What members of groups were told.
    pub(crate) told: RefCell<Told>,
    pub(crate) printed: Cell<bool>,
}

impl Shared {
    pub(crate) fn new(
        seed: u64,
        facts: Facts,
        clients: Vec<Rc<Client>>,
        printed: bool,
    ) -> Rc<Shared> {
        Rc::new(Shared {
            seed,
            facts: RefCell::new(facts),
            clients,
            properties: RefCell::new(crate::properties::all()),
            events: RefCell::default(),
            violation: RefCell::default(),
            step: Cell::new(0),
            operations: Cell::new(0),
            next_fetch: Cell::new(0),
            keyed_ids: Cell::new(0),
            told: RefCell::default(),
            printed: Cell::new(printed),
        })
    }

    /// Something has happened; the model hears of it after this step of the machine.
    pub(crate) fn tell(&self, event: Event) {
        self.events.borrow_mut().push_back(event);
    }

    /// Lets the properties and then the model see what has happened.
    #[allow(clippy::print_stdout, reason = "a replayed history is printed")]
    pub(crate) fn check(&self, now_ns: u64) {
        loop {
            let Some(event) = self.events.borrow_mut().pop_front() else {
                break;
            };
            let mut facts = self.facts.borrow_mut();
            facts.now_ns = now_ns;
            if self.printed.get() {
                println!(
                    "{:>12} us  {}",
                    now_ns / 1000,
                    crate::print::event(&facts, &event)
                );
            }
            for property in self.properties.borrow_mut().iter_mut() {
                if let Err(message) = property.observe(&facts, &event) {
                    self.violated(property.name(), message);
                }
            }
            facts.apply(&event);
        }
    }

    pub(crate) fn violated(&self, property: &'static str, message: String) {
        self.violation.borrow_mut().get_or_insert(Violation {
            seed: self.seed,
            step: self.step.get(),
            property,
            message,
        });
    }
}
