#!/bin/sh
# Builds the .deb and the .rpm, and prints their paths (in target/packages, if no other directory is said):
#
#   build-packages.sh [--target TRIPLE] [--binary FILE] [--version VERSION] [--output DIR] [--deb | --rpm] [--fast]
#
# --target   what to build for: *-linux-gnu or *-linux-musl, x86_64 or aarch64 (default: this machine's, with gnu). For
#            others than this machine's cargo has to know the linker (CARGO_TARGET_…_LINKER), and TLS a C compiler
#            (CC_…). The binary is linked statically, and has TLS in it
# --binary   packs this binary instead of building one; no list of its dependencies is put into it
# --version  another version than that of Cargo.toml
# --deb      one package alone; so does --rpm
# --fast     hardly compressed, for tests
#
# The same source, compiler and C library give the same bytes: every time in the packages is SOURCE_DATE_EPOCH (default:
# the last commit's), and no path of this machine is in the binary. DEBFULLNAME and DEBEMAIL name who answers for them.
#
# Needs cargo, a C compiler, dpkg-deb, and for the .rpm rpmbuild (Debian: apt-get install rpm). cargo-auditable, which
# puts the list of dependencies into the binary (`rust-audit-info`, trivy, grype and syft read it), is installed below
# target/tools if it is not there.
#
# install.sh knows which files there are and where they go, for packages as well: its DESTDIR= is what is packed. That
# is why dpkg-deb and rpmbuild do it, not cargo-deb and cargo-generate-rpm, which want a list of their own of all files.

set -eu
umask 022
LC_ALL=C
TZ=UTC
export LC_ALL TZ

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(dirname -- "$here")
auditable_version=0.7.7

die() {
    printf 'build-packages.sh: %s\n' "$*" >&2
    exit 1
}

need() { command -v "$1" >/dev/null || die "there is no $1 ($2)"; }

target=$(uname -m)-unknown-linux-gnu
binary=
version=
output=$root/target/packages
kinds='deb rpm'
level=9
while [ $# -gt 0 ]; do
    case $1 in
    --deb | --rpm) kinds=${1#--} ;;
    --fast) level=0 ;;
    --target | --binary | --version | --output)
        [ $# -ge 2 ] || die "$1 wants a value"
        case $1 in
        --target) target=$2 ;;
        --binary) binary=$2 ;;
        --version) version=$2 ;;
        --output) output=$2 ;;
        esac
        shift
        ;;
    *) die "unknown: $1 (the first lines of this script say what there is)" ;;
    esac
    shift
done

case $target in
x86_64-*-linux-*) deb_architecture=amd64 rpm_architecture=x86_64 ;;
aarch64-*-linux-*) deb_architecture=arm64 rpm_architecture=aarch64 ;;
*) die "$target: packages are for x86_64 and aarch64 with Linux" ;;
esac
: "${version:=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | sed q)}"
# A pre-release sorts before its release, in both.
version=$(printf '%s' "$version" | sed 's/-/~/')
revision=1
maintainer="${DEBFULLNAME:-lockstepd packagers} <${DEBEMAIL:-lockstepd@packages.invalid}>"
: "${SOURCE_DATE_EPOCH:=$(git -C "$root" log -1 --format=%ct 2>/dev/null || stat -c %Y "$root/Cargo.toml")}"
export SOURCE_DATE_EPOCH

mkdir -p -- "$output"
output=$(CDPATH='' cd -- "$output" && pwd)
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
trap 'exit 130' HUP INT TERM
stage=$work/root

# Everything that can be missing is looked for before the long build.
case $kinds in *deb*) need dpkg-deb 'Debian has it in dpkg' ;; esac
case $kinds in *rpm*) need rpmbuild 'apt-get install rpm, dnf install rpm-build; or --deb' ;; esac
need cargo 'https://rustup.rs'

build() {
    [ -d "$(rustc --print target-libdir --target "$target")" ] ||
        die "this Rust has no library for $target: rustup target add $target"
    auditable=$(command -v cargo-auditable || echo "$root/target/tools/bin/cargo-auditable")
    [ -x "$auditable" ] ||
        CARGO_TARGET_DIR=$root/target/tools/build cargo install --locked --root "$root/target/tools" \
            --version "$auditable_version" cargo-auditable >&2
    cargo_home=${CARGO_HOME:-$HOME/.cargo}
    # The compiler's own paths, and those of the C sources, whose errors name the file.
    RUSTFLAGS="${RUSTFLAGS:+$RUSTFLAGS }-C target-feature=+crt-static -C strip=symbols \
--remap-path-prefix=$root=/usr/src/lockstepd --remap-path-prefix=$cargo_home=/usr/src/cargo"
    CFLAGS="${CFLAGS:+$CFLAGS }-ffile-prefix-map=$root=/usr/src/lockstepd -ffile-prefix-map=$cargo_home=/usr/src/cargo"
    export RUSTFLAGS CFLAGS
    cd "$root"
    PATH=$(dirname -- "$auditable"):$PATH cargo auditable build --release --locked --features tls --bin lockstepd \
        --target "$target" >&2
    binary=${CARGO_TARGET_DIR:-$root/target}/$target/release/lockstepd
    ! grep -q -e "$root" -e "$cargo_home" "$binary" || die "$binary has paths of this machine in it"
    # The list of dependencies, which strip has to leave.
    grep -q '\.dep-v0' "$binary" || die "cargo-auditable has left no list of dependencies in $binary"
}

# The licences of what is linked into the program, each text once.
third_party() {
    sources=${CARGO_HOME:-$HOME/.cargo}/registry/src
    echo "The program lockstepd has these projects in it, under the licences that are named; the texts follow, by number."
    echo
    cargo tree --manifest-path "$root/Cargo.toml" --locked --edges normal --target "$target" --features tls \
        --prefix none --no-dedupe --format '{p}|{l}' |
        grep -v -e '(proc-macro)' -e '^lockstepd ' | sed 's/ v/-/' | sort -u >"$work/crates"
    # Sum, size and path of each text, of a crate and of the project that it wraps.
    cut -d '|' -f 1 "$work/crates" | while read -r crate; do
        find "$sources"/*/"$crate" -maxdepth 2 -type f ! -name '*.rs' \
            \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' \) -print0
    done | sort -z | xargs -0 cksum >"$work/texts"
    awk -v sources="$sources/" '
        NR == FNR {
            path = substr($0, index($0, sources) + length(sources))
            split(path, parts, "/")
            sum = $1 "-" $2
            if (!(sum in number)) { number[sum] = ++count; file[count] = sources path }
            if (!index(" " texts[parts[2]] " ", " " number[sum] " ")) texts[parts[2]] = texts[parts[2]] " " number[sum]
            next
        }
        {
            split($0, crate, "|")
            has = crate[1] in texts ? "texts" texts[crate[1]] : "without a text of its own"
            print crate[1] ": " crate[2] "; " has
        }
        END {
            for (n = 1; n <= count; n++) {
                print "\n==== " n " ====\n"
                while ((getline line < file[n]) > 0) { sub(/\r$/, "", line); print line }
            }
        }' "$work/texts" "$work/crates"
}

stage_files() {
    DESTDIR=$stage PREFIX=/usr UNITDIR=/usr/lib/systemd/system LOCKSTEPD_BINARY=$work/lockstepd \
        "$here/install.sh" install >"$work/install.log" || die "$(cat "$work/install.log")"
    # Packages have lists of their own.
    rm -- "$stage/usr/share/doc/lockstepd/directories"
    put() { # put TARGET: stdin becomes that file
        mkdir -p -- "$(dirname -- "$stage/$1")"
        cat >"$stage/$1"
    }
    for unit in "$here"/user/*; do
        sed 's|%h/.local/|/usr/|g' "$unit" | put "usr/lib/systemd/user/${unit##*/}"
    done
    for manager in system user; do
        put "usr/lib/systemd/$manager-preset/80-lockstepd.preset" <"$here/lockstepd.preset"
    done
    # They find each other there.
    sed 's|/usr/local}|/usr}|; s|(default /usr/local)|(default /usr)|' "$here/make-units.sh" |
        put usr/share/lockstepd/make-units.sh
    chmod 0755 "$stage/usr/share/lockstepd/make-units.sh"
    for template in "$here"/*.in; do put "usr/share/lockstepd/${template##*/}" <"$template"; done
    third_party | put usr/share/doc/lockstepd/third-party-licences.txt
    if [ -d "$stage/usr/share/man" ]; then find "$stage/usr/share/man" -type f -exec gzip -9n {} +; fi
}

with_scriptlets() { sed -e "/^#SCRIPTLETS#\$/{r $here/scriptlets.sh" -e 'd;}' "$1"; }

# No time is later than the source's.
settle() { find "$1" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +; }

make_deb() {
    tree=$work/deb
    cp -a -- "$stage" "$tree"
    doc=$tree/usr/share/doc/lockstepd
    # Debian's names for the same.
    if [ -d "$tree/usr/share/zsh/site-functions" ]; then
        mv "$tree/usr/share/zsh/site-functions" "$tree/usr/share/zsh/vendor-completions"
    fi
    gzip -9nc <"$root/CHANGELOG.md" >"$doc/changelog.gz"
    printf 'lockstepd (%s-%s) unstable; urgency=medium\n\n  * Version %s; changelog.gz tells what is new.\n\n -- %s  %s\n' \
        "$version" "$revision" "$version" "$maintainer" "$(date --date="@$SOURCE_DATE_EPOCH" --rfc-email)" |
        gzip -9n >"$doc/changelog.Debian.gz"
    sed -e 1d -e 's/^$/./' -e 's/^/ /' "$root/LICENSE-MIT" | sed '1{/^ \.$/d;}' >"$work/mit"
    sed -e "/^@MIT@\$/{r $work/mit" -e 'd;}' "$here/deb/copyright" >"$doc/copyright"
    mkdir -p "$tree/usr/share/lintian/overrides" "$tree/DEBIAN"
    cp "$here/deb/lintian-overrides" "$tree/usr/share/lintian/overrides/lockstepd"

    for script in preinst postinst prerm postrm; do
        with_scriptlets "$here/deb/$script" >"$tree/DEBIAN/$script"
        chmod 0755 "$tree/DEBIAN/$script"
    done
    echo /etc/lockstepd/lockstepd.toml >"$tree/DEBIAN/conffiles"
    (cd "$tree" && find etc usr -type f -exec md5sum {} + | sort -k 2) >"$tree/DEBIAN/md5sums"
    # In KiB, each file and directory rounded up, as dpkg-gencontrol counts.
    size=$(find "$tree/etc" "$tree/usr" -printf '%y %s\n' |
        awk '{ size += $1 == "f" ? int(($2 + 1023) / 1024) : 1 } END { print size }')
    sed -e "s|@VERSION@|$version-$revision|" -e "s|@ARCHITECTURE@|$deb_architecture|" -e "s|@SIZE@|$size|" \
        -e "s|@MAINTAINER@|$maintainer|" "$here/deb/control.in" >"$tree/DEBIAN/control"
    settle "$tree"
    package=$output/lockstepd_$version-${revision}_$deb_architecture.deb
    # The number of threads is in the bytes.
    dpkg-deb --root-owner-group -Zxz -z$level --threads-max=1 --build "$tree" "$package" >/dev/null || die "dpkg-deb failed"
    echo "$package"
}

make_rpm() {
    tree=$work/rpm
    cp -a -- "$stage" "$tree"
    mkdir -p "$tree/usr/share/licenses/lockstepd"
    cp "$root/LICENSE-MIT" "$root/LICENSE-APACHE" "$tree/usr/share/licenses/lockstepd"
    mv "$tree/usr/share/doc/lockstepd/third-party-licences.txt" "$tree/usr/share/licenses/lockstepd"
    cp "$root/CHANGELOG.md" "$tree/usr/share/doc/lockstepd"
    settle "$tree"
    # Directories of others are not the package's.
    (cd "$tree" && find . \( -path '*/lockstepd' -o -path '*/lockstepd/*' \) -type d -printf '%%dir /%P\n' -o -type f -printf '/%P\n' | sort) |
        sed -e 's|^/etc/.*\.toml$|%config(noreplace) &|' -e 's|^/usr/share/doc/|%doc &|' \
            -e 's|^/usr/share/licenses/|%license &|' >"$work/files"
    # rpm reads a % of its own in scripts.
    sed 's/%/%%/g' "$here/scriptlets.sh" >"$work/scriptlets"
    sed -e "/^#SCRIPTLETS#\$/{r $work/scriptlets" -e 'd;}' -e "s|@VERSION@|$version|" -e "s|@REVISION@|$revision|" \
        -e "s|@MAINTAINER@|$maintainer|" -e "s|@STAGE@|$tree|" -e "s|@FILES@|$work/files|" "$here/rpm/lockstepd.spec.in" >"$work/lockstepd.spec"
    rpmbuild -bb --quiet --target "$rpm_architecture-linux" \
        --define "_topdir $work/rpmbuild" --define "_rpmdir $output" --define "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm" \
        --define '_buildhost localhost' --define 'use_source_date_epoch_as_buildtime 1' \
        --define 'clamp_mtime_to_source_date_epoch 1' --define "_binary_payload w$level.xzdio" \
        --define 'debug_package %{nil}' --define '__os_install_post %{nil}' --define '_build_id_links none' \
        "$work/lockstepd.spec" >"$work/rpmbuild.log" 2>&1 || die "rpmbuild failed: $(cat "$work/rpmbuild.log")"
    echo "$output/lockstepd-$version-$revision.$rpm_architecture.rpm"
}

[ -n "$binary" ] || build
[ -f "$binary" ] || die "there is no file $binary"
cp -- "$binary" "$work/lockstepd"
chmod 0755 "$work/lockstepd"
# A binary that was given may have symbols, which are no use in a package.
strip --strip-all "$work/lockstepd" 2>/dev/null || case $target in x86_64-*) die "strip cannot read $binary" ;; esac
stage_files
for kind in $kinds; do "make_$kind"; done
