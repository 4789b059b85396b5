//! From a request to its answer: turns, draws, what ends one, and what is refused.

use super::{LAYERS, PROMPT, fixed, generate, open, random_router, request, with_engine};
use first_wgpu::data::Example;
use first_wgpu::engine::{Event, LoadOptions, Policy, Request};
use first_wgpu::mask::{LayerMask, Masking, PrefillReading};
use first_wgpu::model::chat_template::Message;
use first_wgpu::model::tiny::{TinyOptions, tiny_bytes, write_tiny};
use first_wgpu::model::tokenizer::Tokenizer;
use first_wgpu::router::Granularity;
use first_wgpu::trace::{FinishReason, Run, Sampling};
use first_wgpu::weights::gguf::Gguf;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};

pub(super) fn sticky() {
    with_engine(|engine| {
        for mask in ["", "1.attn,2"] {
            engine.model.chunk = 32;
            let first = generate(engine, &request(engine, PROMPT, fixed(mask)));
            assert!(first.prompt_ids.len() > 32, "the prompt has several chunks");
            let mut next = request(engine, "hello", Policy::Sticky);
            next.ids = [
                &first.prompt_ids[..],
                &first.answer_ids[..],
                &engine.prompt_ids(PROMPT, true).expect("valid")[..],
            ]
            .concat();
            let continued = generate(engine, &next);
            next.policy = fixed(mask);
            let fresh = generate(engine, &next);
            assert!(
                continued.prefill_dispatches < fresh.prefill_dispatches,
                "what is known is not read again"
            );
            assert_eq!(continued.answer_ids, fresh.answer_ids, "{mask}");
            assert_eq!(continued.mask, fresh.mask);
            // The keys and values of an answer's last token were never computed.
            let known = first.prompt_ids.len() + first.answer_ids.len() - 1;
            assert_eq!([continued.cached_tokens, fresh.cached_tokens], [known, 0]);
            // An answer's text may be cut into other tokens when it is read again: what is known ends before those.
            generate(engine, &request(engine, PROMPT, fixed(mask)));
            let alike = first.prompt_ids.len() + 2;
            next.ids[alike] ^= 1;
            next.policy = Policy::Sticky;
            let parted = generate(engine, &next);
            next.policy = fixed(mask);
            assert_eq!(parted.cached_tokens, alike);
            assert_eq!(parted.answer_ids, generate(engine, &next).answer_ids);
        }
    });
}

/// A model's tokenizer in which answers end with this token.
fn ending_with(end: u32) -> Tokenizer {
    let key = b"tokenizer.ggml.eos_token_id";
    let mut bytes = tiny_bytes(&TinyOptions::llama3());
    let at = bytes.windows(key.len()).position(|window| window == key);
    // Its name, its kind in four bytes, its value.
    let value = at.expect("the key") + key.len() + 4;
    bytes[value..value + 4].copy_from_slice(&end.to_le_bytes());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("tiny.gguf");
    std::fs::write(&model, bytes).expect("written");
    Tokenizer::from_gguf(&Gguf::open(&model).expect("valid")).expect("a tokenizer")
}

/// An answer ends with a token that says so and is no part of its text; a turn goes on behind it.
pub(super) fn ends() {
    with_engine(|engine| {
        let mut asked = request(engine, PROMPT, fixed(""));
        let whole = generate(engine, &asked);
        assert_eq!(whole.finish_reason, Some(FinishReason::Length));
        let (before, end) = (&whole.answer_ids[..2], whole.answer_ids[2]);
        assert!(!before.contains(&end), "{:?}", whole.answer_ids);
        let own = std::mem::replace(&mut engine.tokenizer, ending_with(end));
        assert_eq!(generate(engine, &asked).answer_ids, whole.answer_ids);
        asked.stop_at_end = true;
        let ended = generate(engine, &asked);
        engine.tokenizer = own;
        assert_eq!(ended.answer_ids, whole.answer_ids[..3]);
        assert_eq!(ended.finish_reason, Some(FinishReason::Stop));
        assert_eq!(ended.answer, engine.tokenizer.decode(before));
        let more = engine.prompt_ids("hello", true).expect("valid");
        let mut next = asked.clone();
        next.ids = [&ended.prompt_ids[..], &ended.answer_ids, &more].concat();
        next.policy = Policy::Sticky;
        let continued = generate(engine, &next);
        assert_eq!(continued.cached_tokens, asked.ids.len() + 2);
        next.policy = fixed("");
        assert_eq!(continued.answer_ids, generate(engine, &next).answer_ids);
    });
}

/// What every layer has read is not read again, whatever the mask of the answer was; all comes to the same bits.
pub(super) fn whole_turns() {
    with_engine(|engine| {
        let router = random_router(Granularity::Sublayer, PrefillReading::Full);
        engine.set_router(&router).expect("fits");
        let skipping = |rate: f32| Policy::Routed(router.decision().with_threshold(rate));
        let keep = |mut asked: Request| {
            asked.keep_prompt = true;
            asked
        };
        let policies = [skipping(0.5), skipping(1.1), skipping(0.4)];
        let mut asked = keep(request(engine, PROMPT, policies[0].clone()));
        let mut before = generate(engine, &asked);
        assert_eq!(before.kv_bytes, before.kv_bytes_full);
        for policy in policies {
            let more = engine.prompt_ids("hello", true).expect("valid");
            asked.ids = [&before.prompt_ids[..], &before.answer_ids, &more].concat();
            asked.policy = policy;
            let continued = generate(engine, &asked);
            assert_eq!(continued.cached_tokens, before.prompt_ids.len());
            engine.reset();
            let fresh = generate(engine, &asked);
            assert_eq!(fresh.cached_tokens, 0);
            assert_eq!(continued.scores, fresh.scores);
            assert_eq!(
                (&continued.mask, &continued.answer_ids),
                (&fresh.mask, &fresh.answer_ids)
            );
            engine.read_ahead(&asked.policy).expect("reads");
            let mut next = asked.clone();
            next.ids = [&asked.ids[..], &fresh.answer_ids, &more].concat();
            let ahead = generate(engine, &next);
            // The last token of the answer went through no layer.
            let read = asked.ids.len() + fresh.answer_ids.len() - 1;
            assert_eq!(ahead.cached_tokens, read);
            engine.reset();
            let after = generate(engine, &next);
            assert_eq!(ahead.scores, after.scores);
            assert_eq!(ahead.answer_ids, after.answer_ids);
            engine.reset();
            before = generate(engine, &asked);
        }
        // As far as the conversation is the same.
        asked.ids[9] ^= 1;
        assert_eq!(generate(engine, &asked).cached_tokens, 9);
        // Other routers have said nothing of it yet, and a mask that concerns the prompt needs no more than its layers.
        engine.set_router(&router).expect("fits");
        assert_eq!(generate(engine, &asked).cached_tokens, 0);
        let [masked, answer] = [PrefillReading::Masked, PrefillReading::Full].map(|reading| {
            let mask = LayerMask::parse("1.attn,2", LAYERS).expect("a valid mask");
            Policy::Fixed(Masking::new(mask, reading))
        });
        asked.policy = answer.clone();
        assert_eq!(generate(engine, &asked).cached_tokens, asked.ids.len() - 1);
        // Of what is read under the mask that was kept, not every layer knows everything.
        asked.policy = Policy::Sticky;
        assert_eq!(generate(engine, &asked).cached_tokens, asked.ids.len() - 1);
        asked.policy = answer;
        assert_eq!(generate(engine, &asked).cached_tokens, 0);
        asked.policy = masked;
        assert_eq!(generate(engine, &asked).cached_tokens, 0);
        asked.policy = skipping(0.5);
        assert_eq!(generate(engine, &asked).cached_tokens, 0);
        // Nor is there anything to go on from where nobody asked for that.
        let once = request(engine, PROMPT, skipping(1.1));
        assert!(generate(engine, &once).kv_bytes < before.kv_bytes_full);
        assert_eq!(generate(engine, &keep(once)).cached_tokens, 0);
    });
}

/// Nor has the middle of an example, where the model's texts begin with one.
pub(super) fn answers_go_on() {
    let [without, with] = [0u8, 1].map(|add_bos| {
        let mut bytes = tiny_bytes(&TinyOptions::default());
        let mut set = |key: &str, value: u8| {
            let name = key.as_bytes();
            let at = bytes.windows(name.len()).position(|window| window == name);
            // Its name, its kind in four bytes, its value.
            bytes[at.expect("the key") + name.len() + 4] = value;
        };
        set("tokenizer.ggml.add_bos_token", add_bos);
        // The file's own end, as Llama 3's, is not what the template ends a turn with.
        set("tokenizer.ggml.eos_token_id", 0);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let model = folder.path().join("tiny.gguf");
        std::fs::write(&model, bytes).expect("written");
        let options = LoadOptions {
            model,
            ..Default::default()
        };
        let engine = open(&options);
        let example = Example {
            task: None,
            messages: vec![Message::new("user", "hello")],
            completion: "the sun".to_owned(),
        };
        let raw = engine.prompt_ids("hello", false).expect("ids").len();
        // The prompt as a chat, the answer as it goes on, and what ends it.
        let tokens = example.tokens(&engine, 256).expect("fits");
        let asked = engine.chat_ids(&example.messages).expect("a template");
        let said = engine.tokenizer.encode_continuation(&example.completion);
        let ids = [&asked[..], &said.expect("ids"), &[2]].concat();
        assert_eq!((&tokens.ids, tokens.answer), (&ids, asked.len()));
        let cut = example.tokens(&engine, ids.len() - 1).expect("fits");
        assert!(cut.is_cut(&engine) && !tokens.is_cut(&engine));
        (tokens, raw)
    });
    assert_eq!(without.0, with.0);
    assert_eq!(without.1 + 1, with.1, "a text does begin with it");
}

/// As `| head -c1` closes it.
pub(super) fn closed_pipe() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("tiny.gguf");
    write_tiny(&model, &TinyOptions::default()).expect("written");
    let answer = ["run", "-n", "4", PROMPT];
    for command in [&answer[..], &[&answer[..], &["--json"]].concat(), &["info"]] {
        let mut child = first(&model, command).spawn().expect("starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
    }
    // Where nobody reads the report either, the trace is written all the same.
    let trace = folder.path().join("trace.jsonl");
    let mut child = first(&model, &answer)
        .arg("--trace")
        .arg(&trace)
        .spawn()
        .expect("starts");
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().expect("ends").code(), Some(0));
    assert!(trace.exists());
}

/// Ctrl-C interrupts an answer, which is told as far as it came, and a training, which goes on where it stopped.
#[cfg(unix)]
pub(super) fn interrupted() {
    use rustix::process::{Pid, Signal, kill_process};
    use std::{io::Read, process::Child};
    let interrupt = |child: &Child| {
        kill_process(Pid::from_child(child), Signal::INT).expect("is still there");
    };
    let ended = |child: Child| {
        let output = child.wait_with_output().expect("ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("tiny.gguf");
    let endless = TinyOptions {
        context: 1 << 16,
        ..TinyOptions::default()
    };
    write_tiny(&model, &endless).expect("written");
    let answer = ["run", "--raw", "-n", "60000", PROMPT];
    let mut child = first(&model, &answer).spawn().expect("starts");
    let mut answer = child.stdout.take().expect("piped");
    answer.read_exact(&mut [0]).expect("it begins");
    interrupt(&child);
    let mut rest = Vec::new();
    answer.read_to_end(&mut rest).expect("it ends");
    let (code, said) = ended(child);
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("interrupted there"), "{said}");

    let data = folder.path().join("data.jsonl");
    std::fs::write(&data, "{\"prompt\": \"a\", \"completion\": \"the an\"}\n").expect("written");
    let out = folder.path().join("out");
    let [data, out] = [&data, &out].map(|path| path.to_str().expect("UTF-8"));
    let training = [
        "train",
        "lora",
        "--skip-layers",
        "none",
        "--steps",
        "1000000",
    ];
    let training = [&training[..], &["--data", data, "--out", out]].concat();
    let checkpoint = Path::new(out).join("checkpoint.safetensors");
    let mut child = first(&model, &training).spawn().expect("starts");
    // What is waited for is a file: the next look may come a little later.
    let clock = std::time::Instant::now();
    while !checkpoint.exists() && child.try_wait().expect("is asked").is_none() {
        assert!(clock.elapsed().as_secs() < 600, "no checkpoint comes");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    interrupt(&child);
    let (code, said) = ended(child);
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("the same command goes on"), "{said}");
}

/// The program with a model, its streams piped.
fn first(model: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_first"));
    command
        .args(arguments)
        .arg("-m")
        .arg(model)
        .env("FIRST_CACHE", model.parent().expect("a folder"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Nor does it end the conversation: the next turn is answered.
pub(super) fn long_turns() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("tiny.gguf");
    write_tiny(&model, &TinyOptions::default()).expect("written");
    let mut child = first(&model, &["chat", "-n", "4"]).spawn().expect("starts");
    let mut stdin = child.stdin.take().expect("piped");
    writeln!(stdin, "{}", "ant sun ".repeat(10_000)).expect("is read");
    stdin.write_all(b"caf\xe9\n").expect("is read");
    writeln!(stdin, "hello").expect("is read");
    drop(stdin);
    let output = child.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("; shorten the prompt"), "{said}");
    assert!(said.contains("not UTF-8"), "{said}");
    assert!(said.contains("answer    "), "{said}");
}

/// A chat knows what was said in it.
pub(super) fn turns_of_a_chat() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("tiny.gguf");
    write_tiny(&model, &TinyOptions::llama3()).expect("written");
    // The same model: what it answers to the first turn is known, and how many tokens the second has.
    let [mut asked, mut turns] = [0, 0];
    with_engine(|engine| {
        let hello = Message::new("user", "hello");
        let mut messages = vec![Message::new("system", "an ant"), hello.clone()];
        asked = engine.chat_ids(&messages).expect("valid").len();
        let mut request = request(engine, "", fixed(""));
        request.ids = engine.chat_ids(&messages).expect("valid");
        (request.max_tokens, request.stop_at_end) = (4, true);
        let answer = generate(engine, &request).answer;
        messages.extend([Message::new("assistant", answer), hello]);
        turns = engine.chat_ids(&messages).expect("valid").len();
    });
    for (more, kept) in [(&[][..], true), (&["--turns", "reroute"], false)] {
        let chat = ["chat", "-n", "4", "--system", "an ant"];
        let mut child = first(&model, &[&chat, more].concat())
            .spawn()
            .expect("starts");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(b"hello\nhello\n").expect("is read");
        drop(stdin);
        let output = child.wait_with_output().expect("ends");
        let said = String::from_utf8_lossy(&output.stderr);
        let prompts: Vec<&str> = said
            .lines()
            .filter(|line| line.starts_with("prompt "))
            .collect();
        assert_eq!(prompts.len(), 2, "{said}");
        for (line, tokens) in prompts.iter().zip([asked, turns]) {
            assert!(line.contains(&format!(" {tokens} tokens,")), "{said}");
        }
        assert_eq!(prompts[1].contains("of them new"), kept, "{said}");
    }
}

/// What `echo` puts behind a prompt is none of it; and an answer says why it ended.
pub(super) fn piped_prompts() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("tiny.gguf");
    write_tiny(&model, &TinyOptions::default()).expect("written");
    let run = |prompt: &[u8], more: &[&str]| -> Run {
        let arguments = [&["run", "--json", "--raw", "-n", "3"], more].concat();
        let mut child = first(&model, &arguments).spawn().expect("starts");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(prompt).expect("is read");
        drop(stdin);
        let output = child.wait_with_output().expect("ends");
        serde_json::from_slice(&output.stdout).expect("a run as JSON")
    };
    let plain = run(b"the sun", &[]);
    assert_eq!(plain.prompt, "the sun");
    assert_eq!(plain.finish_reason, Some(FinishReason::Length));
    for prompt in ["the sun\n", "the sun\r\n", "\u{feff}the sun"] {
        assert_eq!(run(prompt.as_bytes(), &[]).prompt_ids, plain.prompt_ids);
    }
    // An end that was asked for with more is of the prompt.
    assert_eq!(run(b"the sun\n\n", &[]).prompt, "the sun\n");
    let room = (plain.prompt_ids.len() + 1).to_string();
    let cut = run(b"the sun", &["--context", &room]);
    assert_eq!(cut.finish_reason, Some(FinishReason::Context));
    assert_eq!(cut.answer_ids, plain.answer_ids[..1]);
}

pub(super) fn seeds() {
    with_engine(|engine| {
        let mut draw = |seed: u64, temperature: f32| {
            let mut request = request(engine, PROMPT, fixed(""));
            request.sampling = Sampling {
                temperature,
                top_k: 50,
                top_p: 0.95,
                min_p: 1e-4,
                seed,
            };
            generate(engine, &request).answer_ids
        };
        assert_eq!(draw(1, 50.0), draw(1, 50.0));
        assert_ne!(draw(1, 50.0), draw(2, 50.0));
        // One over the last overflows.
        let cold = [0.001, 1e-39].map(|temperature| draw(3, temperature));
        let greedy = generate(engine, &request(engine, PROMPT, fixed("")));
        assert_eq!(cold, [greedy.answer_ids.clone(), greedy.answer_ids]);
    });
}

pub(super) fn breaking() {
    with_engine(|engine| {
        let request = request(engine, PROMPT, fixed(""));
        let mut tokens = 0;
        let run = engine.generate(&request, &mut |event| match event {
            Event::Token(..) => {
                tokens += 1;
                if tokens == 3 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            }
            _ => ControlFlow::Continue(()),
        });
        let run = run.expect("a broken-off answer is an answer");
        assert_eq!(run.answer_ids.len(), 3);
        assert_eq!(run.finish_reason, Some(FinishReason::Cancelled));
        let whole = generate(engine, &request);
        assert_eq!(
            run.answer_ids,
            whole.answer_ids[..3],
            "the engine works on as before"
        );
    });
}

pub(super) fn refused() {
    with_engine(|engine| {
        let long = "word ".repeat(2000);
        let error = engine
            .prompt_ids(&long, true)
            .expect_err("too long")
            .to_string();
        assert!(error.contains("context holds 256"), "{error}");
        assert!(engine.prompt_ids("", false).is_err());
        assert!(
            engine
                .generate(&request(engine, PROMPT, Policy::Sticky), &mut |_| {
                    ControlFlow::Continue(())
                })
                .is_err()
        );
    });
}
