//! The binary: hands the arguments to `cli` and the exit code back; it never decides anything.

fn main() -> std::process::ExitCode {
    isolog::cli::main()
}
