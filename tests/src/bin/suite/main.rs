//! Runs nginx's own test suite on stock nginx and on ours, and compares the
//! two file by file.

mod network;
mod outcome;
mod run;
mod variant;

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use pipe_options::Suite as Options;
use pipe_tests::build::{self, Pipe, Recipe, Source, with_progress};
use tempfile::TempDir;

use outcome::{Judgement, Outcome, Verdict, judge};
use run::{Runner, Side};
use variant::{VARIANTS, Variant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SUITE_URL: &str = "https://github.com/nginx/nginx-tests";
/// The state of the suite that the list of files was made for.
const SUITE_COMMIT: &str = "76bb761cdcaeb6cb024d605c2ef91bf8d8a602d7";
/// The files in which the pipe runs, most coverage first.
const FILES: &str = include_str!("../../../suite/files.txt");

const RETRIES: usize = 3;

/// What files of the list need, beside what all tests are built with.
const SUITE_MODULES: &[&str] = &[
    "--with-http_dav_module",
    "--with-http_flv_module",
    "--with-http_mp4_module",
    "--with-http_geoip_module",
    "--with-http_gzip_static_module",
    "--with-http_image_filter_module",
    "--with-http_perl_module",
    "--with-http_random_index_module",
    "--with-http_secure_link_module",
    "--with-http_stub_status_module",
    "--with-http_xslt_module",
    "--with-mail",
    "--with-mail_ssl_module",
    "--with-stream",
    "--with-stream_geoip_module",
    "--with-stream_realip_module",
    "--with-stream_ssl_module",
    "--with-stream_ssl_preread_module",
];

fn main() -> ExitCode {
    match suite(&Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("suite: {error}");
            ExitCode::from(2)
        }
    }
}

/// The variants that are asked for.
fn variants(options: &Options) -> Result<Vec<&'static Variant>> {
    if options.all_variants {
        return Ok(VARIANTS.iter().collect());
    }
    if options.variant.is_empty() {
        return Ok(VARIANTS.first().into_iter().collect());
    }
    let named = |name: &String| {
        let known = Variant::named(name);
        known.ok_or_else(|| format!("there is no variant {name}").into())
    };
    options.variant.iter().map(named).collect()
}

/// The files that are asked for.
fn files(options: &Options) -> Vec<String> {
    match options.files.is_empty() {
        true => FILES.lines().map(str::to_owned).collect(),
        false => options.files.clone(),
    }
}

fn suite(options: &Options) -> Result<ExitCode> {
    let (variants, files) = (variants(options)?, files(options));
    let Some(checkout) = checkout(options.clone)? else {
        println!(
            "skipped: nginx's own test suite; NGINX_TESTS names no checkout of it. To run it:"
        );
        println!("  git clone {SUITE_URL} && git -C nginx-tests checkout {SUITE_COMMIT}");
        println!("  NGINX_TESTS=$PWD/nginx-tests cargo xtask suite");
        println!("or let --clone fetch that commit.");
        return Ok(ExitCode::SUCCESS);
    };
    for file in &files {
        if !checkout.join(file).is_file() {
            return Err(format!("{} has no {file}", checkout.display()).into());
        }
    }

    let [stock, ours] = binaries()?;
    match network::enter_own() {
        Ok(()) => network::set_up()?,
        Err(error) => println!("in this machine's network, not in one of its own: {error}"),
    }
    run::catch_interrupts();
    let scratch = TempDir::new()?;
    let mut worse = 0;
    for variant in variants {
        let runner = Runner {
            variant,
            suite: variant.suite(&checkout, scratch.path())?,
            stock: &stock,
            ours: &ours,
            scratch: scratch.path(),
            logs: fresh_folder(&build::target().join("suite").join(variant.name))?,
        };
        worse += compare(&runner, &files, usize::from(options.jobs))?;
    }
    Ok(match worse {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// The folder of the suite, if there is any.
fn checkout(clone: bool) -> Result<Option<PathBuf>> {
    if let Some(checkout) = path_from_env("NGINX_TESTS")? {
        return Ok(Some(checkout));
    }
    if !clone {
        return Ok(None);
    }
    let folder = build::target().join("nginx-tests");
    fs::create_dir_all(&folder)?;
    git(&folder, &["init", "--quiet"])?;
    with_progress("fetching nginx's test suite", || {
        let fetch = ["fetch", "--quiet", "--depth=1", SUITE_URL, SUITE_COMMIT];
        git(&folder, &fetch)
    })?;
    git(&folder, &["checkout", "--quiet", "--force", SUITE_COMMIT])?;
    Ok(Some(folder))
}

fn git(folder: &Path, arguments: &[&str]) -> Result<()> {
    let mut git = Command::new("git");
    match git.args(arguments).current_dir(folder).status()? {
        status if status.success() => Ok(()),
        status => Err(format!("git {}: {status}", arguments.join(" ")).into()),
    }
}

/// Both programs: those given, or else built from one tree.
fn binaries() -> Result<[PathBuf; 2]> {
    let binaries = [("NGX_STOCK", Pipe::Stock), ("NGX_OURS", Pipe::Rust)].map(binary);
    let [stock, ours] = binaries;
    let (stock, ours) = (stock?, ours?);
    let (old, new) = (version(&stock)?, version(&ours)?);
    if old != new {
        return Err(format!("stock is {old}, ours is {new}: nothing to compare").into());
    }
    println!(
        "{new}\n  stock {}\n  ours  {}",
        stock.display(),
        ours.display()
    );
    Ok([stock, ours])
}

fn binary((variable, pipe): (&str, Pipe)) -> Result<PathBuf> {
    if let Some(path) = path_from_env(variable)? {
        return Ok(path);
    }
    let source = Source::from_env()?;
    let mut recipe = Recipe::full(&source, pipe)?;
    recipe
        .configure
        .extend(source.known_options(SUITE_MODULES)?);
    Ok(recipe.build()?.binary)
}

/// The absolute path of what the variable names, if it is set.
fn path_from_env(variable: &str) -> Result<Option<PathBuf>> {
    let Some(path) = env::var_os(variable).map(PathBuf::from) else {
        return Ok(None);
    };
    let absolute = path.canonicalize();
    let absolute = absolute.map_err(|error| format!("{variable}={}: {error}", path.display()))?;
    Ok(Some(absolute))
}

/// What the program says it is, such as `nginx version: nginx/1.28.3`.
fn version(binary: &Path) -> Result<String> {
    let output = Command::new(binary).arg("-v").output()?;
    Ok(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// Runs one variant and prints the comparison; how many files are worse.
fn compare(runner: &Runner<'_>, files: &[String], jobs: usize) -> Result<usize> {
    let name = runner.variant.name;
    let what = format!("{name}: {} files on stock and ours", files.len());
    let outcomes = with_progress(&what, || runner.run_all(files, jobs))?;
    println!("{name}: {}", counts(&outcomes));

    let mut worse = 0;
    for (file, [stock, ours]) in files.iter().zip(&outcomes) {
        if stock == ours && stock.verdict() == Verdict::Fail {
            println!("  {file}: on both sides {stock}");
        } else if stock != ours && settle(runner, file, [stock, ours])?.fails() {
            worse += 1;
        }
    }
    if worse > 0 {
        println!(
            "{name}: {worse} worse than stock; see {}",
            runner.logs.display()
        );
    }
    Ok(worse)
}

/// Runs a file on which the sides differ again, alone, and says what every run
/// came to.
fn settle(runner: &Runner<'_>, file: &str, first: [&Outcome; 2]) -> Result<Judgement> {
    let [mut stock, mut ours] = first.map(|run| vec![run.clone()]);
    for attempt in 1..=RETRIES {
        let [stock_run, ours_run] = runner.run_both(file, attempt)?;
        stock.push(stock_run);
        ours.push(ours_run);
    }
    let judgement = judge(&stock, &ours);
    println!("  {file}: {judgement}");
    for (side, runs) in Side::BOTH.iter().zip([&stock, &ours]) {
        let runs: Vec<_> = runs.iter().map(Outcome::to_string).collect();
        let (crowded, alone) = runs.split_at(1);
        println!(
            "    {:5}  {}; alone: {}",
            side.name(),
            crowded.join(""),
            alone.join(", ")
        );
    }
    Ok(judgement)
}

/// Such as `178 pass, 22 skip, 0 fail on stock; same on ours`.
fn counts(outcomes: &[[Outcome; 2]]) -> String {
    let count = |side: usize| {
        let verdicts = || outcomes.iter().map(|sides| sides[side].verdict());
        let [pass, skip, fail] = [Verdict::Pass, Verdict::Skip, Verdict::Fail]
            .map(|wanted| verdicts().filter(|&verdict| verdict == wanted).count());
        let subtests: usize = outcomes.iter().map(|sides| sides[side].subtests).sum();
        format!("{pass} pass, {skip} skip, {fail} fail ({subtests} subtests)")
    };
    let (stock, ours) = (count(0), count(1));
    if outcomes.iter().all(|[stock, ours]| stock == ours) {
        format!("{stock} on stock; same on ours")
    } else {
        format!("{stock} on stock; {ours} on ours")
    }
}

/// An empty folder at this path.
fn fresh_folder(path: &Path) -> Result<PathBuf> {
    if path.exists() {
        fs::remove_dir_all(path)?;
    }
    fs::create_dir_all(path)?;
    Ok(path.to_owned())
}
