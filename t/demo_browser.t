#!/usr/bin/perl

# The demo as a person meets it: demo/run.sh in a terminal, its page in
# headless Chromium (browser/demo.js), and the stand-in endpoint. Where npm
# cannot be reached, there is no SDK, or no driver for Chromium: what needs them
# is skipped.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use HTTP::Tiny;
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP;
use MIME::Base64;
use POSIX qw(setpgid WNOHANG);
use Test::More tests => 182;
use Time::HiRes qw(sleep time);

my $t = dirname(abs_path(__FILE__));
my $run = "$t/../demo/run.sh";
my $form = 'application/x-www-form-urlencoded';
my $basic = 'Basic ' . encode_base64('demo-key:demo-secret', '');
my $http = HTTP::Tiny->new(timeout => 10);
my %running;

# As build.sh test says, or what it builds by default.
$ENV{NGX_TOKEN_MODULE} = $ENV{TEST_NGINX_LOAD_MODULES}
    // abs_path("$t/..") . '/build/ngx_http_token_module.so';
$ENV{PATH} = dirname($ENV{TEST_NGINX_BINARY}) . ":$ENV{PATH}" if $ENV{TEST_NGINX_BINARY};
delete @ENV{qw(CONSUMER_KEY CONSUMER_SECRET TOKEN_ENDPOINT CORS_ORIGIN PORT VOXEET)};

END {
    kill TERM => keys %running;
}

###############################################################################
# Starting, stopping

sub free_port {
    my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1');
    return $socket->sockport;
}

# A demo in a working directory of its own, whose .env is read and not that of
# the checkout, and in a process group of its own, as in a terminal.
sub demo {
    my ($env, $dotenv) = @_;
    my $dir = tempdir('demo.XXXX', TMPDIR => 1, CLEANUP => 1);

    chmod 0755, $dir;
    mkdir "$dir/tmp";
    write_file("$dir/.env", $dotenv // '');

    my $pid = fork // die "fork: $!";

    if (!$pid) {
        setpgid(0, 0);
        $SIG{INT} = 'DEFAULT';
        %ENV = (%ENV, %$env, TMPDIR => "$dir/tmp");
        chdir $dir;
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', "$dir/out";
        open STDERR, '>', "$dir/err";
        exec $run or POSIX::_exit(127);
    }

    $running{$pid} = 1;
    return { pid => $pid, dir => $dir };
}

sub started {
    my ($demo) = @_;

    for (my $end = time + 120; time < $end; sleep 0.1) {
        return 1 if out($demo) =~ /^Demo page: /m;
        return 0 if ended($demo);
    }

    return 0;
}

sub ended {
    my ($demo) = @_;

    if (!defined $demo->{status} && waitpid($demo->{pid}, WNOHANG) > 0) {
        $demo->{status} = $?;
        delete $running{$demo->{pid}};
    }

    return defined $demo->{status};
}

# The wait status, undef when the demo goes on.
sub status {
    my ($demo) = @_;

    for (my $end = time + 15; time < $end && !ended($demo); sleep 0.05) { }
    return $demo->{status};
}

sub out { read_file("$_[0]{dir}/out") }
sub err { read_file("$_[0]{dir}/err") }

sub read_file {
    open my $in, '<', $_[0] or return '';
    local $/;
    return <$in> // '';
}

sub write_file {
    open my $file, '>', $_[0] or die "$_[0]: $!";
    print $file $_[1];
    close $file;
}

sub fails {
    my ($demo, $like, $name) = @_;

    is(status($demo), 1 << 8, "$name: exit code 1");
    like(err($demo), $like, "$name: said in words");
    unlike(out($demo), qr/Demo page/, "$name: nothing is said to run");
    is_deeply([glob "$demo->{dir}/tmp/*"], [], "$name: nothing is left behind");
}

###############################################################################
# Without a real endpoint

my $port = free_port();
my $other = free_port();
my $demo = demo({ PORT => $port, CORS_ORIGIN => "http://localhost:$other" });

ok(started($demo), 'the demo starts') or BAIL_OUT(out($demo) . err($demo));

# It was tried once; the other demos need not wait for it.
my $sdk = -f "$t/../demo/node_modules/\@voxeet/voxeet-web-sdk/dist/voxeet-sdk.js";

$ENV{npm_config_offline} = 'true' if !$sdk;
diag('npm has not installed the SDK') if !$sdk;

like(out($demo), qr/^Stand-in token endpoint: /m, 'the stand-in is announced');
like(out($demo), qr{^Token URL: http://localhost:$port/token$}m, 'token URL');
like(out($demo), qr{^Demo page: http://localhost:$port/$}m, 'page URL');
like(out($demo), qr{^Settings: \Q$demo->{dir}\E/\.env\b}m, 'which .env was read');
like(out($demo), qr{^Pages of other origins that may ask: http://localhost:$other$}m,
    'who else may ask');

my $base = "http://localhost:$port";
my $answer = $http->get("$base/token");
my $token = eval { decode_json($answer->{content}) };

is($answer->{status}, 200, 'a token');
is_deeply([sort keys %{$token // {}}], [qw(access_token refresh_token)],
    'with the two members and no other');

my $page = $http->get("$base/");

is($page->{status}, 200, 'the page');
like($page->{headers}{'content-security-policy'}, qr/default-src 'self'/, 'has a policy');
is($http->get("$base/$_")->{status}, 404, "$_ is not served")
    for qw(run.sh nginx.conf stand-in.conf package.json);

###############################################################################
# The page

SKIP: {
    skip('no playwright-core in t/node_modules: "npm ci" has not installed it', 62)
        if !-d "$t/node_modules/playwright-core";

    open my $browser, '-|', 'node', "$t/browser/demo.js", "$base/", $other or die "node: $!";

    while (<$browser>) {
        if (/^(not )?ok - (.*)/) {
            my ($wrong, $name) = ($1, $2);

            SKIP: {
                skip("page: $name: there is no SDK", 1) if !$sdk && $name =~ /^the SDK without/;
                ok(!$wrong, "page: $name");
            }

        } else {
            diag($_);
        }
    }

    ok(close $browser, 'the browser test went through');
}

###############################################################################
# The stand-in, asked directly

sub ask {
    my ($method, $body, %headers) = @_;
    my ($path) = glob "$demo->{dir}/tmp/*/stand-in.sock";
    my $socket = IO::Socket::UNIX->new(Peer => $path) or die "$path: $!";

    %headers = (Host => 'localhost', Connection => 'close', Authorization => $basic,
        'Content-Type' => $form, 'Content-Length' => length $body, %headers);
    delete @headers{grep { !defined $headers{$_} } keys %headers};

    print $socket "$method /v1/oauth2/token HTTP/1.1\r\n",
        (map { "$_: $headers{$_}\r\n" } keys %headers), "\r\n", $body;

    local $/;
    my ($head, $content) = split /\r\n\r\n/, <$socket>, 2;
    my ($status) = $head =~ /^HTTP\S+ (\d+)/;

    return ($status, eval { decode_json($content) } // {}, $head);
}

my $grant = 'grant_type=client_credentials';

for my $case (
    ['a right request', 200, undef, ask('POST', $grant)],
    ['one with a scope', 200, undef, ask('POST', "$grant&scope=a")],
    ['one with a charset', 200, undef,
        ask('POST', $grant, 'Content-Type' => "$form; charset=utf-8")],
    ['GET', 405, 'invalid_request', ask('GET', '')],
    ['PUT', 405, 'invalid_request', ask('PUT', $grant)],
    ['no Authorization', 401, 'invalid_client', ask('POST', $grant, Authorization => undef)],
    ['a wrong secret', 401, 'invalid_client',
        ask('POST', $grant, Authorization => 'Basic ZGVtby1rZXk6d3Jvbmc=')],
    ['JSON', 415, 'invalid_request',
        ask('POST', $grant, 'Content-Type' => 'application/json')],
    ['no content type', 415, 'invalid_request',
        ask('POST', $grant, 'Content-Type' => undef)],
    ['an empty body', 400, 'invalid_request', ask('POST', '')],
    ['a body without grant_type', 400, 'invalid_request', ask('POST', 'scope=a')],
    ['another grant type', 400, 'unsupported_grant_type',
        ask('POST', 'grant_type=password')],
    ['a longer grant type', 400, 'unsupported_grant_type', ask('POST', "${grant}2")],
) {
    my ($name, $expected, $error, $status, $body) = @$case;

    is($status, $expected, "stand-in: $name: $expected");
    is($body->{error}, $error, "stand-in: $name: " . ($error // 'no error'));
}

my ($status, $body, $head) = ask('POST', $grant);
my $claims = decode_json(decode_base64((split /\./, $body->{access_token})[1]));

is($body->{token_type}, 'Bearer', 'stand-in: token type');
ok($body->{refresh_token}, 'stand-in: refresh token');
cmp_ok($claims->{exp}, '>=', time + $body->{expires_in} - 1,
    'stand-in: the JWT lives at least expires_in');
like($head, qr/Cache-Control: no-store/, 'stand-in: no-store');
like((ask('GET', ''))[2], qr/^Allow: POST\r?$/m, 'stand-in: 405 has Allow');
like((ask('POST', '', Authorization => undef))[2], qr/^WWW-Authenticate: Basic/m,
    'stand-in: 401 has WWW-Authenticate');

###############################################################################
# The end, and what keeps it from starting

fails(demo({ PORT => $port }), qr/port $port is in use/, 'port in use');
is($http->get("$base/token")->{status}, 200, 'the first one is unimpressed');

kill INT => -$demo->{pid};
is(status($demo), 0, 'Ctrl-C: exit code 0');
is($http->get("$base/token")->{status}, 599, 'Ctrl-C: nginx is gone');
is_deeply([glob "$demo->{dir}/tmp/*"], [], 'Ctrl-C: nothing is left behind');
is_deeply([grep { !/No such file|origin "http:\/\/localhost:\d+" is not allowed/ } split /^/, err($demo)], [],
    'nothing on stderr but the 404s, and the page that may not ask');

fails(demo({ PORT => $_ }), qr/PORT is not a port number/, "PORT=$_")
    for 'http', '0', '65536', '80;';
fails(demo({ CONSUMER_KEY => 'k' }), qr/CONSUMER_KEY set, but not CONSUMER_SECRET TOKEN_ENDPOINT/,
    'only a key');
fails(demo({ TOKEN_ENDPOINT => 'http://x/' }, "CONSUMER_KEY=k\nCONSUMER_SECRET=\n"),
    qr/set, but not CONSUMER_SECRET:/, 'an empty secret');
fails(demo({ CONSUMER_KEY => 'k', CONSUMER_SECRET => 's', TOKEN_ENDPOINT => $_ }),
    qr/TOKEN_ENDPOINT is not an http or https URL/, "TOKEN_ENDPOINT=$_")
    for 'session.example.com', 'http://x/; daemon on';
fails(demo({ CORS_ORIGIN => $_ }), qr/CORS_ORIGIN: "\Q$_\E" is not an origin/, "CORS_ORIGIN=$_")
    for 'localhost:3000', 'http://localhost:3000/', 'http://x;';
fails(demo({}, "\nCONSUMER_SECRET='a'b\n"), qr/\.env, line 2: CONSUMER_SECRET: there is something after its value/,
    'a value of .env that can be read in two ways');
fails(demo({ NGX_TOKEN_MODULE => '/nowhere.so' }), qr/NGX_TOKEN_MODULE/, 'no module');

# Hosts of the reserved domain .invalid do not resolve: nginx itself refuses.
fails(demo({ CONSUMER_KEY => 'k', CONSUMER_SECRET => 's', PORT => free_port(),
        TOKEN_ENDPOINT => 'http://endpoint.invalid/token' }),
    qr/nginx did not start/, 'an unknown host');

###############################################################################
# A real endpoint, named in .env

my $listen = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1');
my $endpoint = 'http://127.0.0.1:' . $listen->sockport . '/oauth2/token';

sub authorization {
    my ($env, $dotenv) = @_;

    $port = free_port();
    $demo = demo({ PORT => $port, %$env }, $dotenv);
    started($demo) or return diag(err($demo));

    my $pid = fork // die "fork: $!";

    if (!$pid) {
        $http->get("http://localhost:$port/token");
        POSIX::_exit(0);
    }

    my $client = $listen->accept;
    my $request = '';
    while (<$client>) { $request .= $_; last if /^\r?$/ }
    read $client, my $form, $1 if $request =~ /Content-Length: (\d+)/;
    print $client "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n",
        "Content-Length: 20\r\nConnection: close\r\n\r\n", '{"access_token":"a"}';
    close $client;
    waitpid $pid, 0;

    return $request =~ /^Authorization: Basic (\S+)/m ? decode_base64($1) : $request;
}

my $given = authorization({}, <<"END_OF_ENV");
\xEF\xBB\xBF export CONSUMER_KEY = 'the "key"'   # quoted
# CONSUMER_KEY=no
CONSUMER_SECRET="old"
CONSUMER_SECRET="se#c'ret=\$HOME `id` \\d"
TOKEN_ENDPOINT=$endpoint # not the other one\r
PORT=1
PATH=/nowhere
touch pwned
END_OF_ENV

is($given, q{the "key":se#c'ret=$HOME `id` \d}, '.env: key and secret arrive');
like(out($demo), qr/^Token endpoint: \Q$endpoint\E$/m, '.env: endpoint');
like(out($demo), qr/localhost:$port/, '.env: PORT of the environment wins');
ok(!-e "$demo->{dir}/pwned", '.env: nothing in it is executed');

my @files = glob("$demo->{dir}/tmp/*/*");
my @told = grep { read_file($_) =~ /se#c'ret/ } glob('/proc/[0-9]*/cmdline'), @files;
is(@files ? "@told" : 'no file', '', 'the secret is on no command line and in no file');

kill TERM => $demo->{pid};
is(status($demo), 0, 'SIGTERM: exit code 0');
is_deeply([glob "$demo->{dir}/tmp/*"], [], 'SIGTERM: nothing is left behind');

is(authorization({ CONSUMER_KEY => 'env' },
        "CONSUMER_KEY=file\nCONSUMER_SECRET=a b#c\nTOKEN_ENDPOINT=`$endpoint`"),
    'env:a b#c', '.env: the environment wins, # is in a bare value, no newline at the end');
kill TERM => $demo->{pid};
is(status($demo), 0, 'SIGTERM: exit code 0');
