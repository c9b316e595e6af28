# docs/install.md: what Prometheus is told there is a configuration of it; and
# with TEST_INSTALL=1 the commands of the page do what it says, in a new folder
# of Debian with nothing but the base system (debootstrap: minutes, hundreds of
# megabytes, root). What is downloaded from nginx.org is not tried.

use strict;
use warnings;

use lib 't/lib';
use Test::More;
use Token::Util qw($ROOT slurp spew work_dir);

plan(tests => 12);

my $page = slurp("$ROOT/docs/install.md");
my @blocks = $page =~ /^```sh\n(.*?)^```/msg;
my $dir = work_dir();

is(scalar(@blocks), 5, 'docs/install.md has commands to try');


# Prometheus
{
    my ($yaml) = $page =~ /^```yaml\n(.*?)^```/ms;
    my ($path) = $page =~ /location = (\S+) \{\s*token_proxy_status;/;

    ok($yaml, 'it has a configuration for Prometheus');
    like($yaml // '', qr{metrics_path: \Q$path\E$}m, '... which asks the location above it');

    SKIP: {
        skip('no promtool', 1) if system('command -v promtool > /dev/null');

        spew("$dir/alerts.yml", slurp("$ROOT/docs/alerts.yml"));
        spew("$dir/prometheus.yml", $yaml // '');
        my $output = `promtool check config '$dir/prometheus.yml' 2>&1`;
        is($?, 0, '... that promtool takes') or diag($output);
    }
}


# The commands
SKIP: {
    skip('TEST_INSTALL=1 runs them in a new folder of Debian', 8) if !$ENV{TEST_INSTALL};

    my $root = "$dir/root";
    my $run = sub {
        my ($script) = @_;
        my $file = spew("$dir/script", $script);
        my $output = `bash -euo pipefail -c '
            say() { printf "%s\\n" "\$*"; }
            MODULE=ngx_http_token_module BUILD=$dir NGINX_SOURCE= CC=gcc
            . $ROOT/scripts/packages.sh; . $ROOT/scripts/suite.sh
            $script' 2>&1`;
        diag($output) if $?;
        return $? == 0;
    };
    my $there = sub {
        spew("$root/commands", "set -e\ncd /src\n", @_);
        return $run->("in_suite $root \"exec bash /commands\"");
    };

    ok($run->(". /etc/os-release
        apart \"debootstrap --variant=minbase \\\"\\\$@\\\"\" \$VERSION_CODENAME $root \"\$(debian_mirror)\"
        cp /etc/resolv.conf /etc/hosts $root/etc/
        cp -r /etc/apt/sources.list* $root/etc/apt/
        apt-config dump | grep -E \"^Acquire::(Check-Valid-Until|https?::Proxy)\" > $root/etc/apt/apt.conf.d/90machine || true
        mkdir $root/src
        tar -C $ROOT --exclude=./build --exclude=./t/node_modules --exclude=./demo/node_modules --exclude=./.git -cf - . | tar -C $root/src -xf -"),
        'a new folder of Debian') or skip('there is none', 7);

    for my $block (@blocks) {
        ok($there->($block), $block =~ s/\n(?=.)/; /gr =~ s/\n//r);
    }

    ok(!-e "$root/usr/lib/nginx/modules/ngx_http_token_module.so", 'the last of them has removed the module');
    ok(!-e "$root/usr/sbin/policy-rc.d", 'services may start in it');
}
