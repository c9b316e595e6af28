# The Debian package: built, checked with lintian, installed, enabled.
#
# TEST_DEB=1 builds it (./build.sh deb) and looks at what is in it. TEST_DEB=2
# builds it twice, and installs it into a new Debian root made with debootstrap,
# which takes minutes, hundreds of megabytes and root. TEST_DEB=3 also builds it
# in there, where nothing is that it needs. It is not run otherwise.

use strict;
use warnings;
use lib 't/lib';

use Test::More;
use Token::Util qw($ROOT slurp spew work_dir);

my $level = $ENV{TEST_DEB} // 0;

plan(skip_all => 'TEST_DEB=1 builds the package, TEST_DEB=2 installs it as well')
    if !$level;
plan(skip_all => 'not on Debian') if system('command -v dpkg-deb > /dev/null');
plan(tests => 15);

my $build = work_dir();
my $output = `BUILD_DIR='$build' '$ROOT/build.sh' deb 2>&1`;

is($?, 0, './build.sh deb') or diag($output);

my ($deb) = glob "$build/deb/libnginx-mod-http-token_*.deb";
my $list = `dpkg-deb -c '$deb'`;
my $depends = `dpkg-deb -f '$deb' Depends`;

SKIP: {
    skip('no git, no commit', 1) if system("git -C '$ROOT' log -1 > /dev/null 2>&1");
    like($deb, qr/_\d+\.\d+\.\d+\+20\d{6}\.\d+_/, 'its version has the date and number of the commit');
}

like($list, qr{/usr/lib/nginx/modules/ngx_http_token_module\.so$}m, 'the module');
like($list, qr{/usr/share/nginx/modules-available/mod-http-token\.conf$}m,
    'what loads it');
like($depends, qr/\bnginx-abi-[\d.]+-\d+\b/, 'it is for this nginx alone');
like($depends, qr/\blibssl\d/, 'it needs OpenSSL');

SKIP: {
    skip('TEST_DEB=2 installs it', 9) if $level < 2;

    my $again = work_dir();

    $output = `BUILD_DIR='$again' '$ROOT/build.sh' deb 2>&1`;
    is($?, 0, 'built again, elsewhere') or diag($output);
    ok(slurp($deb) eq slurp((glob "$again/deb/libnginx-mod-http-token_*.deb")[0]),
        '... it is the same, byte for byte');

    my $suite = `. /etc/os-release; printf %s "\$VERSION_CODENAME"`;
    my $root = "$build/root";
    my $run = sub {
        my $out = `chroot '$root' env DEBIAN_FRONTEND=noninteractive $_[0] 2>&1`;
        return $? ? diag($out) && 0 : 1;
    };
    my ($mirror) = split ' ', `apt-get indextargets --format '\$(REPO_URI)' | head -n 1`;

    $output = `debootstrap --variant=minbase '$suite' '$root' '$mirror' 2>&1`;
    is($?, 0, 'a new root') or diag($output);

    system('cp', $deb, "$root/token.deb");
    system("cp -r /etc/apt/sources.list* '$root/etc/apt/' 2> /dev/null");
    $run->('apt-get update');
    ok($run->('apt-get install -y --no-install-recommends /token.deb nginx'),
        'it installs');
    ok(-l "$root/etc/nginx/modules-enabled/50-mod-http-token.conf",
        '... and is enabled');
    ok($run->('nginx -t'), '... and loads');

    spew("$root/etc/nginx/conf.d/token.conf",
        "token_proxy_cache_zone  zone=tokens:1m;\n");
    ok($run->('nginx -t'), '... its directives are known');

    $run->('apt-get install -y --no-install-recommends curl');
    system("cp '$ROOT/packaging/debian/tests/token' '$root/token-test'");
    ok($run->('/token-test'), '... it serves a token (debian/tests)');

    skip('TEST_DEB=3 builds it in there', 1) if $level < 3;
    mkdir "$root/src";
    system("tar -C '$ROOT' --exclude=./build --exclude=./.git --exclude=node_modules -cf - ."
        . " | tar -C '$root/src' -xf -");
    $output = `chroot '$root' env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin /src/build.sh deb 2>&1`;
    is($?, 0, './build.sh deb where nothing is installed') or diag($output);
}
