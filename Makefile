# Names only. What each does is written where it is done.
.PHONY: demo drill test check sim soak mutants fuzz bench audit doc dist
export PATH := $(HOME)/.cargo/bin:$(PATH)

demo:  ; protocol-tests/kafka/demo
drill: ; protocol-tests/kafka/drill
test:  ; .ci/test
check: ; cargo fmt --all --check && cargo clippy --workspace --all-targets --locked -- -D warnings
sim:   ; cargo test --locked -p protocol-tests --test sim -- world_random:: mirror_ops::
soak:  ; .ci/soak
fuzz:  ; fuzz/run
bench: ; benches/run
audit: ; command -v cargo-deny >/dev/null || cargo install cargo-deny --locked; cargo deny check
doc:   ; RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
dist:  ; .ci/dist
mutants: ; protocol-tests/mutants/machines && protocol-tests/mutants/status
