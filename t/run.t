# The first minutes with build.sh, without a browser: what its arguments and
# BUILD_DIR may be, what "clean" deletes, what is said before packages are
# installed, the values of .env, and a checkout whose path has a space.

use strict;
use warnings;

use lib 't/lib';
use File::Path qw(make_path);
use HTTP::Tiny;
use JSON::PP;
use POSIX ();
use Test::More;
use Token::Util qw($ROOT end_child free_port slurp slurp_or_empty spew wait_for
    work_dir);

# What .env may have, and the value of K; "other" is what npm's dotenv makes of
# it where that is another one; "wrong" is the error.
my @VALUES = (
    { line => 'K=plain', value => 'plain' },
    { line => ' export  K = spaced out  ', value => 'spaced out' },
    { line => "\xEF\xBB\xBFK=after a byte order mark", value => 'after a byte order mark' },
    { line => "K=crlf\r", value => 'crlf' },
    { line => 'K: colon', value => 'colon' },
    { line => 'K=', value => '' },
    { line => 'K=""', value => '' },
    { line => 'K=a=b==', value => 'a=b==' },
    { line => 'K=a b # comment', value => 'a b' },
    { line => 'K=abc#def', value => 'abc#def', other => 'abc' },
    { line => 'K=abc#def # comment', value => 'abc#def', other => 'abc' },
    { line => 'K=#comment', value => '' },
    { line => 'K= # comment', value => '' },
    { line => q(K='a # b' # comment), value => 'a # b' },
    { line => q(K="a#b"#comment), value => 'a#b' },
    { line => q(K=`both " and '`), value => q(both " and ') },
    { line => q(K=' kept '), value => ' kept ' },
    { line => q(K=it's), value => q(it's) },
    { line => q(K='$HOME `id` $(id)'), value => '$HOME `id` $(id)' },
    { line => q(K=$HOME), value => '$HOME' },
    { line => q(K="two\nlines\r"), value => "two\nlines\r" },
    { line => q(K='two\nlines'), value => 'two\nlines' },
    { line => q(K=two\nlines), value => 'two\nlines' },
    { line => q(K="C:\dir\\\\x \t"), value => 'C:\dir\\\\x \t' },
    { line => q(K="say \"yes\""), value => 'say \"yes\"' },
    { line => q(K='it\'s'), value => q(it\'s) },
    { line => "K=\"more\nthan\n one line\"", value => "more\nthan\n one line" },
    { line => "K='more\r\nthan' # comment", value => "more\nthan" },
    { line => "K=first\nK=second", value => 'second' },
    { line => "OTHER=\"a\nK=inside\n\"\nK=after", value => 'after' },
    { line => "OTHER=\"open\nK=after", value => 'after' },
    { line => "# K=comment\nKK=1\nK.K=2", value => undef },
    { line => "K=\"open\nX=1", wrong => 'line 1: K: its value begins with " and has no " at its end' },
    { line => "X=1\nK='a'b", wrong => q(line 2: K: there is something after its value in ') },
    { line => "\n\nK", wrong => 'line 3: K: there is no "=" after its name' },
);

plan(tests => 1 + 2 * @VALUES + 25 + 15 + 12);

delete @ENV{qw(BUILD_DIR CONSUMER_KEY CONSUMER_SECRET TOKEN_ENDPOINT CORS_ORIGIN
    PORT VOXEET K OTHER X)};

my $dir = work_dir();


# run($directory, $variables, @command): the exit code, and what was written.
sub run {
    my ($cwd, $variables, @command) = @_;
    my $file = "$dir/output";
    my $pid = fork // die "fork: $!";

    if (!$pid) {
        %ENV = (%ENV, %$variables);
        chdir $cwd or POSIX::_exit(126);
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', $file;
        open STDERR, '>&', \*STDOUT;
        exec @command or POSIX::_exit(127);
    }

    waitpid $pid, 0;
    return ($? >> 8, slurp($file));
}


# .env

my $read = <<'END_OF_SCRIPT';
fail() { printf '%s' "$*"; exit 1; }
. "$0"
read_env_file "$1" K
[[ ! -v K ]] || printf '%s.' "$K"
END_OF_SCRIPT

my $has_npm = -d "$ROOT/t/node_modules/dotenv";
my @npm;

if ($has_npm) {
    spew("$dir/all.json", encode_json([map { $_->{line} } @VALUES]));
    my (undef, $output) = run($dir, {}, 'node', '-e', <<'END_OF_SCRIPT', "$ROOT/t", "$dir/all.json");
const [root, file] = process.argv.slice(1);
const { parse } = require(root + '/node_modules/dotenv');
const lines = JSON.parse(require('fs').readFileSync(file, 'utf8'));
const bytes = (text) => Buffer.from(text, 'latin1').toString('utf8').replace(/^\uFEFF/, '');
console.log(JSON.stringify(lines.map((line) => parse(bytes(line)).K ?? null)));
END_OF_SCRIPT
    @npm = @{ (eval { decode_json($output) }) // [] };
}

cmp_ok(scalar(@VALUES), '>', 30, '.env: there are cases');

for my $case (@VALUES) {
    my $name = '.env: ' . $case->{line} =~ s/\n/\\n/gr =~ s/\r/\\r/gr =~ s/[^ -~]//gr;
    my $file = spew("$dir/.env", $case->{line});
    my $npm = shift @npm;
    my ($status, $output) = run($dir, {}, 'bash', '-euc', $read, "$ROOT/scripts/dotenv.sh", $file);

    if ($case->{wrong}) {
        is("$status $output", "1 $file, $case->{wrong}", "$name: an error with its line");
    } else {
        is("$status $output", '0 ' . (defined $case->{value} ? "$case->{value}." : ''), $name);
    }

    SKIP: {
        skip('npm has not installed dotenv', 1) if !$has_npm;
        skip("$name: libraries take it as it stands", 1) if $case->{wrong};
        is($npm, $case->{other} // $case->{value}, "$name: as npm's dotenv reads it");
    }
}


# Arguments, BUILD_DIR, clean

my $build = "$ROOT/build.sh";

for (
    ['run --port 9090', 'run takes no argument --port: .*PORT=9090 ./build.sh run'],
    ['run 9090', 'run takes no argument 9090'],
    ['--port run', 'no option --port'],
    ['clean all', 'clean takes no argument all'],
    ['jump', 'no command jump'],
) {
    my ($arguments, $like) = @$_;
    my ($status, $output) = run($dir, { BUILD_DIR => "$dir/unused" }, $build, split / /, $arguments);

    is($status, 1, "$arguments: is an error");
    like($output, qr/^build\.sh: $like/, '... in words');
}

is((run($dir, { CORS_ORIGIN => 'x' }, "$ROOT/demo/run.sh", '--port'))[0], 1,
    'demo/run.sh takes no argument either');

# Settings of the demo, whose last line is a mistake, so that it does not start
{
    my $cwd = "$dir/settings";
    my %settings = (NGX_TOKEN_MODULE => $build, TOKEN_ENDPOINT => 'http://[::1]:9/token',
        CONSUMER_KEY => 'k', CONSUMER_SECRET => 's', CORS_ORIGIN => "off http://a.example,\nx");

    make_path($cwd);
    my ($status, $output) = run($cwd, \%settings, "$ROOT/demo/run.sh");
    is($status, 1, 'the demo: a wrong origin is an error');
    like($output, qr{^Token endpoint: http://\[::1\]:9/token$}m, '... an endpoint whose host is an IPv6 address is none');
    like($output, qr/"x" is not an origin/, '... the origins may be on several lines');

    symlink '/nowhere/.env', "$cwd/.env";
    ($status, $output) = run($cwd, \%settings, "$ROOT/demo/run.sh");
    like($output, qr{^demo: \Q$cwd\E/\.env cannot be read$}m, '... a .env that is a broken link is an error');
}

my $precious = "$dir/precious";
make_path($precious);
spew("$precious/file", '');

my ($status, $output) = run($dir, { BUILD_DIR => $precious }, $build, 'clean');
is($status, 1, 'clean: a directory that the script has not made: an error');
like($output, qr/^build\.sh: \Q$precious\E was not made by build\.sh: nothing is deleted$/, '... in words');
ok(-e "$precious/file", '... and nothing is deleted');

# A build that fails early makes the directory all the same.
my %nothing = (BUILD_DIR => $precious, CC => 'false');
run($dir, \%nothing, $build, '--nginx-source', $dir, 'build');
is((run($dir, { BUILD_DIR => $precious }, $build, 'clean'))[0], 1, '... not after a build in it');
ok(-e "$precious/file", '... either');

# In a checkout of its own, since clean also deletes t/node_modules.
{
    my $checkout = checkout("$dir/second");
    run($dir, { %nothing, BUILD_DIR => 'made' }, "$checkout/build.sh", '--nginx-source', $dir, 'build');
    ok(-d "$dir/made", 'a relative BUILD_DIR is below the working directory');
    is((run("$dir", { BUILD_DIR => 'made' }, "$checkout/build.sh", 'clean'))[0], 0,
        'clean: a directory that the script has made');
    ok(!-e "$dir/made", '... is deleted');
}

is((run($dir, { BUILD_DIR => "$dir/none" }, checkout("$dir/third") . '/build.sh', 'clean'))[0],
    0, 'clean: a directory that is not there is no error');
ok(!-e "$dir/none", '... and is not made');


# Packages: apt-get and dpkg-query are stand-ins, which write down what they were
# asked for and whether services may start meanwhile.
{
    my $bin = "$dir/bin";
    my $policy = "$dir/policy-rc.d";
    my $script = <<'END_OF_SCRIPT';
set -euo pipefail
BUILD=$2 MODULE=token NGINX_SOURCE= CC=gcc
say() { printf '%s\n' "$*"; }
fail() { say "failed: $*"; exit 1; }
. "$0"
POLICY=$1
need_packages make nginx
END_OF_SCRIPT
    my $need = sub {
        my ($variables) = @_;
        unlink "$dir/asked";
        return run($dir, { PATH => "$bin:$ENV{PATH}", WORK => $dir, POLICY => $policy, %$variables },
            'bash', '-c', $script, "$ROOT/scripts/packages.sh", $policy, "$dir/apt");
    };

    make_path($bin);
    spew("$bin/dpkg-query", "#!/bin/sh\nexit 1\n");
    spew("$bin/sudo", "#!/bin/sh\nshift; exec \"\$@\"\n");
    spew("$bin/apt-get", <<'END_OF_SCRIPT');
#!/bin/sh
case "$*" in
    update) touch "$WORK/lists" ;;
    *assume-no*)
        [ -e "$WORK/lists" ] || { echo "E: Unable to locate package nginx"; exit 100; }
        echo "0 upgraded, 17 newly installed, 0 to remove and 3 not upgraded."
        echo "Need to get 4,711 kB/5,000 kB of archives."
        echo "After this operation, 12.3 MB of additional disk space will be used."
        exit 1
        ;;
    *)  "$POLICY" nginx start; echo "services: $?" >> "$WORK/asked" ;;
esac
[ -z "$APT_FAILS" ]
END_OF_SCRIPT
    chmod 0755, glob "$bin/*";

    my ($status, $output) = $need->({ APT_FAILS => '' });

    is($status, 0, 'packages: they are installed') or diag($output);
    like($output, qr/^Fetching Debian's lists/, '... with lists, where there were none');
    like($output, qr/^Installing Debian packages: make nginx\n.*: 17 packages, 4,711 kB to fetch, 12\.3 MB on the disk\.$/m,
        '... and what that is, is said before');
    is(slurp_or_empty("$dir/asked"), "services: 101\n", '... no service starts');
    ok(!-e $policy, '... and what forbids it is gone afterwards');

    ($status, $output) = $need->({ APT_FAILS => 1 });
    is($status, 1, 'packages: apt-get fails');
    like($output, qr/^failed: apt-get could not install make nginx$/m, '... in words');
    ok(!-e $policy, '... and services may start again');

    spew($policy, "#!/bin/sh\nexit 101\n");
    chmod 0755, $policy;
    ($status, $output) = $need->({ APT_FAILS => '' });
    is(slurp_or_empty("$dir/asked"), "services: 101\n", "the machine's own policy is asked");
    unlike($output, qr/port 80/, '... which forbids it');
    is(slurp($policy), "#!/bin/sh\nexit 101\n", '... and stays');

    spew($policy, "#!/bin/sh\nexit 0\n");
    chmod 0755, $policy;
    ($status, $output) = $need->({ APT_FAILS => '' });
    like($output, qr/^\Q$policy\E lets services start: so nginx does, on port 80\.$/m,
        'one that allows it: is said');
    is(slurp($policy), "#!/bin/sh\nexit 0\n", '... and stays');

    spew($policy, "#!/bin/sh\n# build.sh of token\nexit 101\n");
    chmod 0755, $policy;
    $need->({ APT_FAILS => '' });
    is(slurp_or_empty("$dir/asked"), "services: 101\n", 'one that a killed build.sh has left: still forbids');
    ok(!-e $policy, '... and is gone then');
}


# A path with a space, from the build to a token

sub checkout {
    my ($checkout) = @_;

    make_path($checkout);
    system('cp', '-r', map({ "$ROOT/$_" } qw(build.sh config scripts ngx_http_token_module)), $checkout);
    make_path("$checkout/demo");
    system('cp', (grep { -f } glob "$ROOT/demo/*"), "$checkout/demo/");
    return $checkout;
}

SKIP: {
    skip('the installed nginx has no sources', 12) if !-d '/usr/share/nginx/src';

    my $checkout = checkout("$dir/a check-out (1)");
    my $cwd = "$dir/my work";
    my $port = free_port();

    # it is to be built, not to be quick
    my $cc = spew("$dir/cc", "#!/bin/sh\nexec gcc \"\$@\" -O0 -g0 -w\n");
    chmod 0755, $cc;
    make_path($cwd);
    spew("$cwd/.env", "PORT=$port\nCORS_ORIGIN='http://localhost:3000, https://page.example'\n");
    spew("$checkout/.env", "PORT=1\n");

    # a machine without npm
    make_path("$dir/usr");
    symlink $_, "$dir/usr/" . s{.*/}{}r for grep { !m{/npm$} } map { glob "$_/*" } qw(/usr/bin /bin);

    my $demo = { owner => $$, pid => fork // die "fork: $!" };

    if (!$demo->{pid}) {
        delete @ENV{qw(TEST_NGINX_BINARY TEST_NGINX_LOAD_MODULES)};
        @ENV{qw(BUILD_DIR CC PATH)} = ('my build', $cc, "$dir/usr");
        POSIX::setpgid(0, 0);
        chdir $cwd;
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', "$dir/demo.out";
        open STDERR, '>&', \*STDOUT;
        exec "$checkout/build.sh", 'run' or POSIX::_exit(127);
    }

    my $out = sub { slurp_or_empty("$dir/demo.out") };

    ok(wait_for(sub { $out->() =~ /^Demo page/m || waitpid($demo->{pid}, 1) > 0 && 0 }, 300),
        'a checkout whose path has a space: ./build.sh run') or diag($out->());
    ok(-f "$cwd/my build/ngx_http_token_module.so", '... builds into a relative BUILD_DIR with a space');
    like($out->(), qr{^Settings: \Q$cwd\E/\.env \(and not \Q$checkout\E/\.env\)$}m,
        '... says which .env it has read');
    like($out->(), qr{^Pages of other origins that may ask: http://localhost:3000 https://page\.example$}m,
        '... and which pages may ask');

    like($out->(), qr/^No Voxeet Web SDK, .*: VOXEET=1 \.\/build\.sh run installs npm and the SDK\.$/m,
        '... and how to get the SDK, where there is no npm');

    my $http = HTTP::Tiny->new(timeout => 10);
    my $url = "http://localhost:$port/token";
    my $answer = $http->get($url);

    is($answer->{status}, 200, '... and there is a token');
    is($answer->{headers}{'access-control-allow-origin'}, undef, '... without a CORS header for no page');

    for my $origin ('http://localhost:3000', 'https://page.example') {
        $answer = $http->get($url, { headers => { Origin => $origin } });
        is($answer->{headers}{'access-control-allow-origin'}, $origin, "CORS_ORIGIN: $origin");
    }
    is($http->get($url, { headers => { Origin => 'http://localhost:3001' } })->{status}, 403,
        'CORS_ORIGIN: another one is refused');

    kill TERM => $demo->{pid};
    ok(wait_for(sub { waitpid($demo->{pid}, 1) != 0 }, 15), 'and it ends');
    $demo->{pid} = 0;

    is((run($cwd, { BUILD_DIR => 'my build' }, "$checkout/build.sh", 'clean'))[0], 0, 'clean works there')
        or diag(slurp("$dir/output"));
}
