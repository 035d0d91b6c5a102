//! Where instructions go, by crate and by function, read from what callgrind writes.
//!
//! The format is that of valgrind's manual, "Callgrind Format Specification": lines `fl=`, `fi=`, `fe=`
//! and `ob=` say where the following costs are, `fn=` whose they are, and `calls=` that the next line is
//! the cost of a call. A name is written once, with a number that stands for it afterwards.

use std::{collections::HashMap, fmt::Write};

/// Instructions, by whom they are spent.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    /// Where code was inlined, by its own crate.
    by_crate: HashMap<String, i64>,
    /// Where code was inlined, by the function it is in.
    by_function: HashMap<String, Costs>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Costs {
    itself: i64,
    /// With all that it calls; what calls itself is counted more than once.
    inclusive: i64,
}

/// How many functions are listed.
const LISTED: usize = 30;

/// Names of one kind, by their numbers.
#[derive(Debug, Default)]
struct Names<'a>(HashMap<&'a str, &'a str>);

// === impl Profile ===

impl Profile {
    pub(crate) fn parse(text: &str) -> Self {
        let mut profile = Self::default();
        let (mut objects, mut files, mut functions) =
            (Names::default(), Names::default(), Names::default());
        let (mut object, mut file, mut function, mut called) = ("", "", "", "");
        let mut is_call = false;
        // Costs begin after the header.
        for line in text.lines().skip_while(|line| !line.starts_with("events:")).skip(1) {
            match line.split_once('=') {
                Some(("ob", name)) => object = objects.get(name),
                Some(("fl" | "fi" | "fe", name)) => file = files.get(name),
                Some(("fn", name)) => function = functions.get(name),
                Some(("cfn", name)) => called = functions.get(name),
                // Only to learn the names.
                Some(("cob", name)) => drop(objects.get(name)),
                Some(("cfl" | "cfi", name)) => drop(files.get(name)),
                Some(("calls", _)) => is_call = true,
                // Sums, at the beginning and at the end.
                _ if line.starts_with(char::is_alphabetic) => {}
                _ => {
                    let mut numbers = line.split_whitespace().skip(1);
                    let Some(Ok(cost)) = numbers.next().map(str::parse::<i64>) else { continue };
                    let costs = profile.by_function.entry(readable(function)).or_default();
                    if std::mem::take(&mut is_call) {
                        if called != function {
                            costs.inclusive += cost;
                        }
                    } else {
                        costs.itself += cost;
                        costs.inclusive += cost;
                        *profile.by_crate.entry(crate_of(object, file, function)).or_default() +=
                            cost;
                    }
                }
            }
        }
        profile
    }

    /// What this has more than `other`.
    pub(crate) fn minus(mut self, other: &Self) -> Self {
        for (name, cost) in &other.by_crate {
            *self.by_crate.entry(name.clone()).or_default() -= cost;
        }
        for (name, cost) in &other.by_function {
            let costs = self.by_function.entry(name.clone()).or_default();
            costs.itself -= cost.itself;
            costs.inclusive -= cost.inclusive;
        }
        self
    }

    /// The most expensive crates and functions, for one of so many requests.
    pub(crate) fn per_request(&self, requests: usize) -> String {
        let requests = i64::try_from(requests).expect("it is a small number");
        let total: i64 = self.by_crate.values().sum();
        let mut crates: Vec<_> =
            self.by_crate.iter().map(|(name, cost)| (cost / requests, name)).collect();
        crates.sort_by(|one, other| other.cmp(one));
        let mut functions: Vec<_> = self.by_function.iter().collect();
        functions.sort_by_key(|(_, costs)| -costs.itself);
        let mut text = format!("{:>9} total\n\n     self crate\n", total / requests);
        for (cost, name) in crates.into_iter().filter(|(cost, _)| *cost > 0) {
            let _ = writeln!(text, "{cost:>9} {name}");
        }
        text.push_str("\n     self inclusive function\n");
        for (name, costs) in functions.into_iter().take(LISTED) {
            let [itself, inclusive] = [costs.itself, costs.inclusive].map(|cost| cost / requests);
            let _ = writeln!(text, "{itself:>9} {inclusive:>9} {name}");
        }
        text
    }
}

// === impl Names ===

impl<'a> Names<'a> {
    /// The name in `(number) name`, or the one that the number stands for.
    fn get(&mut self, text: &'a str) -> &'a str {
        match text.split_once(") ") {
            Some((number, name)) => {
                self.0.insert(number, name);
                name
            }
            None => self.0.get(text.trim_end_matches(')')).copied().unwrap_or(text),
        }
    }
}

/// Whose code it is that lies in `file`.
fn crate_of(object: &str, file: &str, function: &str) -> String {
    if object.contains("libc.so") {
        return if is_heap(function) { "libc, heap" } else { "libc, others" }.to_owned();
    }
    if object.contains("/ld-linux") {
        return "ld.so".to_owned();
    }
    let package = if let Some((_, path)) = file.split_once("/registry/src/") {
        // index/NAME-VERSION/src/…
        path.split('/').nth(1).and_then(|package| Some(package.rsplit_once('-')?.0))
    } else if let Some((_, path)) = file.split_once("/library/") {
        path.split('/').next()
    } else if file.starts_with(env!("CARGO_MANIFEST_DIR")) || file.starts_with("src/") {
        Some("lockstepd")
    } else {
        None
    };
    package.unwrap_or("unknown").to_owned()
}

fn is_heap(function: &str) -> bool {
    ["malloc", "free", "calloc", "realloc", "tcache", "memalign"]
        .iter()
        .any(|part| function.contains(part))
}

/// A name without the numbers that callgrind adds to tell recursive calls apart.
fn readable(function: &str) -> String {
    let end = function
        .rfind('\'')
        .filter(|at| function[at + 1..].bytes().all(|byte| byte.is_ascii_digit()));
    function[..end.unwrap_or(function.len())].to_owned()
}
