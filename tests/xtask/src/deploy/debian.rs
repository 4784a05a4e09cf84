//! The packages of `packaging/debian`: built, installed, held, upgraded and
//! removed in fresh systems.

use std::path::{Path, PathBuf};

use clap::Args;
use xshell::{Shell, cmd};

use super::chroot::Chroot;
use super::fresh::RUST;
use super::smoke;
use super::{empty, release};
use crate::Result;
use crate::packages;
use crate::project::say;

/// Builds the packages for a release of Debian, and tries them in a fresh one
///
/// Builds the distribution's nginx with this pipe, as packaging/debian does it,
/// in a chroot without a network; and in a fresh one installs, upgrades, holds
/// and removes it. As root. Ubuntu's releases need Ubuntu's archive.
#[derive(Args)]
pub(crate) struct Options {
    /// Such as bookworm or trixie
    suite: String,
    /// The unpacked source package of nginx (default: the release's own)
    #[arg(long)]
    source: Option<PathBuf>,
    /// Try the packages in this folder, and build none
    #[arg(long)]
    packages: Option<PathBuf>,
}

/// What building takes besides Rust.
const BUILDER: &str = "
    sed 's/^deb /deb-src /' /etc/apt/sources.list > /etc/apt/sources.list.d/source.list
    apt-get -q update
    apt-get -qy install --no-install-recommends build-essential fakeroot libclang-dev
    apt-get -qy build-dep --no-install-recommends nginx";

pub(crate) fn run(shell: &Shell, options: &Options, here: &Path) -> Result {
    packages::need(shell, &["release", "packages"])?;
    let base = Chroot::base(shell, &options.suite)?;
    let packages = match &options.packages {
        Some(folder) => here.join(folder),
        None => build(shell, &base, options, here)?,
    };
    let user = base.copy(shell, &format!("{}-user", options.suite))?;
    Trial { shell, user }.run(&packages)
}

/// Builds, and returns the folder with the packages.
fn build(shell: &Shell, base: &Chroot, options: &Options, here: &Path) -> Result<PathBuf> {
    let archive = release::make(shell)?;
    let name = format!("{}-builder", options.suite);
    let builder = base.with(shell, &name, &[RUST, BUILDER].concat())?;

    say("building the packages, without a network");
    let place = empty(&builder.root.join("build"))?;
    cmd!(
        shell,
        "tar -xzf {archive} -C {place} --transform s,^[^/]*,project,"
    )
    .quiet()
    .run()?;
    match &options.source {
        Some(source) => {
            let (source, to) = (here.join(source), place.join("nginx"));
            cmd!(shell, "cp -a {source} {to}").quiet().run()?;
        }
        None => builder.quietly(
            shell,
            "cd /build; apt-get -q update; apt-get -q source nginx; mv nginx-*/ nginx",
        )?,
    }
    builder.offline(
        shell,
        "DEB_BUILD_OPTIONS='nocheck parallel=2' HOME=/nonexistent \\
         /build/project/packaging/debian/build /build/packages /build/nginx",
    )?;
    Ok(place.join("packages"))
}

/// What a user does with the packages.
struct Trial<'a> {
    shell: &'a Shell,
    user: Chroot,
}

impl Trial<'_> {
    fn run(&self, packages: &Path) -> Result {
        let (shell, place) = (self.shell, &self.user.root);
        let packages_there = place.join("packages");
        cmd!(shell, "cp -r {packages} {packages_there}")
            .quiet()
            .run()?;

        say("stock nginx becomes this one");
        self.user.quietly(shell, STOCK)?;
        self.user.quietly(shell, INSTALL)?;
        self.expect("nginx -V 2>&1", "/ngx-event-pipe-")?;
        self.user.quietly(
            shell,
            "echo 'event_pipe_stream on;' >> /etc/nginx/event-pipe.conf; nginx -t",
        )?;
        self.smoke()?;

        say("an update of the distribution does not replace it");
        self.user.quietly(shell, UPDATE)?;
        self.expect(
            "apt-get -qy dist-upgrade 2>&1; nginx -V 2>&1",
            "/ngx-event-pipe-",
        )?;
        // The check notices a missing pin.
        self.expect(
            "mv /usr/share/nginx-event-pipe/pin /pin
             apt-get -s dist-upgrade 2>&1
             mv /pin /usr/share/nginx-event-pipe/pin",
            "Inst nginx-common",
        )?;

        say("a newer build does");
        self.user.quietly(shell, UPGRADE)?;
        self.expect("dpkg-query -W nginx", "+pipe99")?;
        self.user.quietly(
            shell,
            "nginx -t; grep -q '^event_pipe_stream' /etc/nginx/event-pipe.conf",
        )?;
        self.smoke()?;

        say("back to stock: refused, as long as a directive is in the way");
        self.user.quietly(
            shell,
            "echo 'event_pipe_wide off;' > /etc/nginx/conf.d/own.conf; nginx -t",
        )?;
        self.expect(
            "! apt-get -qy remove nginx-event-pipe 2>&1; nginx -t 2>&1",
            "stock nginx would not start with these lines",
        )?;

        say("back to stock");
        self.user.quietly(
            shell,
            "rm /etc/nginx/conf.d/own.conf; apt-get -qy remove nginx-event-pipe",
        )?;
        self.user.quietly(shell, BACK)?;
        self.expect("nginx -t 2>&1; nginx -V 2>&1", "test is successful")?;
        match self
            .user
            .outcome(shell, "nginx -V 2>&1 | grep event-pipe")?
            .0
        {
            true => Err("it is not stock".into()),
            false => Ok(()),
        }
    }

    /// Runs a script that must succeed, and say this.
    fn expect(&self, script: &str, part: &str) -> Result {
        let (succeeded, said) = self.user.outcome(self.shell, script)?;
        match said.lines().find(|line| line.contains(part)) {
            Some(line) if succeeded => {
                let place = line.find(part).unwrap_or_default();
                let rest = line.get(place..).unwrap_or_default();
                println!("  {}", rest.split(" --").next().unwrap_or_default());
                Ok(())
            }
            _ => Err(format!("{script}\ndoes not say {part:?}, but:\n{said}").into()),
        }
    }

    fn smoke(&self) -> Result {
        smoke::run_in(self.shell, &self.user)
    }
}

const STOCK: &str = "
    apt-get -q update
    apt-get -qy install --no-install-recommends nginx dpkg-dev
    dpkg-query -W -f '${Version}' nginx > /stock";

const INSTALL: &str = "
    cd /packages
    apt-get -qy install ./nginx_*.deb ./nginx-common_*.deb ./nginx-event-pipe_*.deb";

/// An archive with what a security update would be: stock nginx, a little newer.
const UPDATE: &str = "
    mkdir /updates; cd /updates
    apt-get -q download nginx=$(cat /stock) nginx-common=$(cat /stock)
    for package in *.deb; do
        dpkg-deb -R $package tree
        sed -i \"s/$(cat /stock | sed 's/[.]/\\\\&/g')/$(cat /stock).99/g\" tree/DEBIAN/control
        rm $package
        dpkg-deb -b tree $package
        rm -r tree
    done
    dpkg-scanpackages . > Packages
    echo 'deb [trusted=yes] file:/updates ./' > /etc/apt/sources.list.d/updates.list
    apt-get -q update";

/// The packages again, as a newer version of the pipe.
const UPGRADE: &str = "
    mkdir /newer; cd /newer
    for package in nginx nginx-common nginx-event-pipe; do
        dpkg-deb -R /packages/${package}_*.deb tree
        sed -i 's/+pipe[0-9]*/+pipe99/g' tree/DEBIAN/control
        dpkg-deb -b tree ./$package.deb
        rm -r tree
    done
    apt-get -qy install ./*.deb";

const BACK: &str = "
    rm /etc/apt/sources.list.d/updates.list; apt-get -q update
    apt-get -qy install --allow-downgrades nginx=$(cat /stock) nginx-common=$(cat /stock)";
