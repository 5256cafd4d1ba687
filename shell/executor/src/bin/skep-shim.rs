//! The shim alone, for this crate's own tests: the product re-executes `skep`.

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let asked = arguments.next().is_some_and(|first| first == skep_executor::SHIM_ARGUMENT);
    let rest: Vec<_> = arguments.collect();
    std::process::exit(if asked { skep_executor::shim_main(&rest) } else { 2 });
}
