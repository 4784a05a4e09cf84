# Sourced by the entry points: makes sure that what they use is there.
# POSIX sh; quiet unless something is missing.
#
#   need PACKAGE...   Debian packages, installed when missing
#   need_cargo        cargo, from PATH or from where rustup puts it

setup_fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

need_cargo() {
    command -v cargo >/dev/null 2>&1 && return
    PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
    export PATH
    command -v cargo >/dev/null 2>&1 && return
    setup_fail "cargo is missing: install Rust 1.85 or newer as https://rustup.rs tells, then run this again."
}

need() {
    if ! command -v dpkg >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
        setup_check_commands "$@"
        return
    fi

    setup_missing=
    for setup_package in "$@"; do
        dpkg -s "$setup_package" 2>/dev/null | grep -q '^Status: .* installed$' ||
            setup_missing="$setup_missing $setup_package"
    done
    [ -z "$setup_missing" ] || setup_install
}

# Installs $setup_missing, as root or through sudo.
setup_install() {
    if [ "$(id -u)" = 0 ]; then
        setup_sudo=
    elif sudo -n true 2>/dev/null; then
        setup_sudo='sudo -n'
    elif [ -t 0 ] && command -v sudo >/dev/null 2>&1; then
        setup_sudo=sudo
    else
        setup_fail "packages are missing; run this line, then this command again:" \
            "  sudo apt-get update && sudo apt-get install -y$setup_missing"
    fi

    printf 'installing%s\n' "$setup_missing" >&2
    setup_log=$(mktemp)
    # An update that fails for one repository need not matter to the install.
    $setup_sudo apt-get update >"$setup_log" 2>&1 || :
    # shellcheck disable=SC2086 # a list of words
    if ! $setup_sudo env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends $setup_missing >>"$setup_log" 2>&1 </dev/null
    then
        cat "$setup_log" >&2
        rm -f "$setup_log"
        setup_fail "could not install$setup_missing (apt-get's output is above)"
    fi
    rm -f "$setup_log"
}

# Without Debian's tools, packages can only be named, and their commands looked
# for; what a missing library means, nginx's own configure tells.
setup_check_commands() {
    setup_missing=
    for setup_package in "$@"; do
        case $setup_package in
            lib* | *-dev | *-plugin-* | ca-certificates) continue ;;
            iproute2) setup_command=ip ;;
            llvm) setup_command=llvm-symbolizer ;;
            nghttp2-client) setup_command=h2load ;;
            uwsgi-core) setup_command=uwsgi ;;
            util-linux) setup_command=unshare ;;
            *) setup_command=$setup_package ;;
        esac
        command -v "$setup_command" >/dev/null 2>&1 ||
            setup_missing="$setup_missing $setup_command"
    done

    [ -z "$setup_missing" ] || setup_fail \
        "these commands are missing:$setup_missing" \
        "install them, and what your system calls these Debian packages: $*"
    printf '%s\n' "not a Debian system; taken for installed, under whatever name: $*" >&2
}
