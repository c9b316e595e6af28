# Clients that others wrote, each over kept connections: whatever way a client
# sends a body that a token location has no use for, it gets its answer, and
# the next one on the same connection.
#
# A client is curl or a program in t/clients. It reads a request a line,
#
#     NAME  SHAPE  URL  TEXT                    (with tabs between them)
#
# makes them one after another, and writes for each
#
#     NAME  STATUS  X-REQUESTS  BODY
#
# TEXT is the body, or for the shape "large" its size; it is a form if it
# begins with "grant_type=". X-Requests counts the requests of the connection,
# and so tells whether it was kept.

use strict;
use warnings;
use lib 't/lib';

use Digest::MD5 qw(md5_hex);
use POSIX ();
use Test::More tests => 624;
use Time::HiRes qw(sleep);
use Token::Cert;
use Token::Endpoint;
use Token::Peer;
use Token::Server;
use Token::Util qw($NGINX $ROOT free_port nginx_since slurp spew wait_for work_dir);

my $LARGE = 1_500_000;
my $REFUSED = '{"error":"invalid_request","error_description":"The length of the request is missing."}';
my %WHAT = (
    get     => 'GET',
    empty   => 'POST without a body',
    small   => 'POST',
    late    => 'POST, its body late',
    expect  => 'POST that waits for 100',
    chunked => 'POST of no known length',
    large   => 'POST of a large body',
);
my %WHERE = (
    fast     => 'no cache',
    slow     => 'no cache, a slow endpoint',
    miss     => 'a miss',
    hit      => 'a hit',
    api_miss => 'an API, a miss',
    api      => 'an API',
    refresh  => 'a refresh token',
);

# Where a call of which endpoint is made.
my %CALLS = (fast => 'fast', map { $_ => 'slow' } qw(slow miss api_miss refresh));

my $dir = work_dir();
my $cert = Token::Cert->authority($dir, 'ca')->issue('server', 'localhost');
my ($python, $node) = ('/usr/bin/python3 -I', 'node');

# Name, command, URL, the shapes that it can make, whether it is here, and if
# not each request is to come on the connection of the one before: what is.
my ($h1, $h2, $tls) = (free_port(), free_port(), free_port());
my ($plain, $prior, $secure) = ("http://localhost:$h1", "http://localhost:$h2",
    "https://localhost:$tls");
my @WHOLE = qw(get empty small);
my @ALL = qw(get empty small late expect chunked large);
my @NO_LATE = grep { $_ ne 'late' } @ALL;
my @NO_EXPECT = grep { $_ ne 'expect' } @ALL;
my @NEITHER = grep { $_ ne 'late' } @NO_EXPECT;
my $CURL2 = has('curl -V', qr/\bHTTP2\b/) && has("'$NGINX' -V", qr/http_v2_module/);

my @CLIENTS = (
    ['curl, HTTP/1.0', ['--http1.0'], $plain, [grep { $_ ne 'chunked' } @NO_LATE], 1, 'none'],
    ['curl, HTTP/1.1', ['--http1.1'], $plain, \@NO_LATE, 1],
    # With HTTP/2, 7.88 takes an answer that comes before the end of a body for
    # an error. Without TLS it sends the body in a packet of its own, so that
    # any location that answers at once is too early, and makes no second
    # request on a connection.
    ['curl, HTTP/2', ['--http2-prior-knowledge'], $prior, [qw(get empty)], $CURL2, 'none'],
    ['curl, HTTP/1.1 over TLS', ['--http1.1'], $secure, \@NO_LATE, 1],
    ['curl, HTTP/2 over TLS', ['--http2'], $secure, \@WHOLE, $CURL2],
    # takes another connection where the last one is not free yet
    ['fetch of node', "$node t/clients/node.mjs fetch CA", $plain, \@NEITHER,
        has('node -v', qr/^v[2-9]\d/), 'some'],
    ['axios', "$node t/clients/node.mjs axios CA", $plain, \@NO_EXPECT,
        has('node -v', qr/^v/) && -d "$ROOT/t/node_modules/axios"],
    ['requests of Python', "$python t/clients/requests.py CA", $plain, \@NO_EXPECT,
        has("$python -c 'import requests; print(1)'", qr/^1/)],
    ['aiohttp', "$python t/clients/aiohttp.py CA", $plain, \@ALL,
        has("$python -c 'import aiohttp; print(1)'", qr/^1/), 'some'],
    ['aiohttp, TLS', "$python t/clients/aiohttp.py CA", $secure, \@ALL,
        has("$python -c 'import aiohttp; print(1)'", qr/^1/), 'some'],
    ['HttpClient of Java, HTTP/1.1', 'java t/clients/Client.java 1.1 CA', $plain, \@ALL,
        has('java --version', qr/^\w+ (?:1[1-9]|[2-9]\d)\b/)],
    ['HttpClient of Java, Upgrade: h2c', 'java t/clients/Client.java 2 CA', $plain, \@ALL,
        has('java --version', qr/^\w+ (?:1[1-9]|[2-9]\d)\b/)],
    # With HTTP/2 it waits for ever for a 100, which nginx does not send, and
    # for the end of a large body that was answered before.
    ['HttpClient of Java, HTTP/2', 'java t/clients/Client.java 2 CA', $secure,
        [qw(get empty small late chunked)],
        has('java --version', qr/^\w+ (?:1[1-9]|[2-9]\d)\b/)],
    # leaves when it is answered before the end of a body
    ['net/http of Go', 'go run t/clients/client.go CA', $plain, \@ALL,
        has('go version', qr/^go/), 'some'],
    ['net/http of Go, HTTP/2', 'go run t/clients/client.go CA', $secure, \@ALL,
        has('go version', qr/^go/)],
);

my $fast = Token::Endpoint->new;
my $slow = Token::Endpoint->new(delay => 0.15);
my $api = Token::Peer->start(\&serve_api);
my $nginx = server();
my ($worker) = $nginx->workers;
my $runs = 0;

chdir $ROOT or die "$ROOT: $!\n";

for (@CLIENTS) {
    my ($name, $command, $url, $shapes, $here, $kept) = @$_;

    SKIP: {
        my @cases = cases($url, @$shapes);

        skip("$name: not installed", @cases + 4 + (($kept // '') eq 'some')) if !$here;

        $_->reset for $fast, $slow;

        my @lines = split /\n/, ref $command ? curl(\@cases, @$command)
            : program(\@cases, $command);

        judge($name, $kept // 'all', \@cases, @lines);
        judge_calls($name, \@cases);
        ok((wait_for { active() == 1 } 10), "$name: no connection is left");
    }
}


sub has {
    my ($command, $wanted) = @_;

    return (`$command 2>&1` // '') =~ $wanted ? 1 : 0;
}


# What is asked for, and what has to be answered: a request in each shape to
# each kind of location. The endpoint numbers its tokens.
sub cases {
    my ($url, @shapes) = @_;
    my ($of_fast, $of_slow) = (0, 0);
    my $key = ++$runs;
    my @cases;

    for my $shape (@shapes) {
        my $text = $shape eq 'large' ? $LARGE : $shape =~ /get|empty/ ? '' : 'some text';
        my $body = $shape eq 'large' ? 'x' x $LARGE : $text;
        my $seen = join ' ', $shape eq 'get' ? 'GET' : 'POST', length $body, md5_hex($body);
        my $add = sub {
            my ($where, $path, $status, $answer, $sent) = @_;

            push @cases, { calls => $status == 200 ? $CALLS{$where} // '' : '', name => "$WHAT{$shape}, $WHERE{$where}", shape => $shape,
                url => "$url$path", text => $sent // $text, status => $status,
                body => $answer };
        };

        $add->(fast => '/fast', 200, token(++$of_fast));
        $add->(slow => '/slow', 200, token(++$of_slow));
        $add->(miss => "/cached?key=$key-$shape", 200, token(++$of_slow));
        $add->(hit => "/cached?key=$key-$shape", 200, token($of_slow));
        $add->(api_miss => "/api?key=$key-api-$shape", 200, 'Bearer AT-' . ++$of_slow . " $seen");
        $add->(api => "/api?key=$key-api-$shape", 200, "Bearer AT-$of_slow $seen");

        next if $shape =~ /get|empty|large/;

        my $form = "grant_type=refresh_token&refresh_token=RT-of-$shape";

        if ($shape eq 'chunked') {
            $add->(refresh => '/refresh', 411, $REFUSED, $form);
        } else {
            $add->(refresh => '/refresh', 200, token(++$of_slow), $form);
            $cases[-1]{call} = [$of_slow, $form];
        }
    }

    return @cases;
}


sub token { qq({"access_token":"AT-$_[0]","refresh_token":"RT-$_[0]"}) }


# The lines of a client beside what they have to be.
sub judge {
    my ($name, $kept, $cases, @lines) = @_;
    my %got = map { my ($case, @answer) = split /\t/; $case => \@answer } @lines;
    my ($n, $most, $last) = (0, 0, 0);

    is(scalar(@lines), scalar(@$cases), "$name: a line for each request");

    for my $case (@$cases) {
        my ($status, $requests, $body) = @{ $got{ $case->{name} } // [] };

        $n = $kept eq 'some' ? $requests // 0
            : $kept eq 'none' ? 1
            # a client may leave when it is refused in the middle of its body
            : $last == 411 && ($requests // 0) == 1 ? 1
            : $n + 1;
        $most = $n if $n > $most;
        $last = $case->{status};

        is(join(' ', map { $_ // '' } $status, $requests, $body),
            "$case->{status} $n $case->{body}", "$name: $case->{name}");
    }

    cmp_ok($most, '>', 5, "$name: connections were kept") if $kept eq 'some';
}


# What the endpoints were sent: what nginx makes, a caller's refresh token, and
# nothing else of a body.
sub judge_calls {
    my ($name, $cases) = @_;
    my (%calls, %wanted, %form);

    for (@$cases) {
        $form{ $_->{call}[0] } = $_->{call}[1] if $_->{call};
    }

    for ([fast => $fast], [slow => $slow]) {
        my ($which, $endpoint) = @$_;
        my @sent = map { /\r\n\r\n(.*)/s ? $1 : '' } $endpoint->requests;
        my @wanted = map { $which eq 'slow' && $form{$_} || 'grant_type=client_credentials' }
            1 .. grep { $_->{calls} eq $which } @$cases;

        is_deeply(\@sent, \@wanted, "$name: what the $which endpoint was sent");
    }
}


# Runs a program of t/clients: what it has written.
sub program {
    my ($cases, $command) = @_;
    my $in = spew("$dir/requests", map { join("\t", @$_{qw(name shape url text)}) . "\n" } @$cases);

    $command =~ s/CA$/@{[$cert->{dir}]}\/ca.crt/;
    $command = "NODE_EXTRA_CA_CERTS=$dir/ca.crt timeout -k 5 90 $command < $in 2> $dir/stderr";
    my $output = `$command`;

    diag(slurp("$dir/stderr")) if $?;
    return $output;
}


# Runs curl, once for all requests if it can: a body of no known length is a pipe's.
sub curl {
    my ($cases, @options) = @_;
    my (@pipes, @config);

    for my $case (@$cases) {
        my ($shape, $text) = @$case{qw(shape text)};
        my @lines = ("url = \"$case->{url}\"", map { s/^--//r } @options);

        if ($shape eq 'large') {
            $text = 'x' x $LARGE;
        }

        push @lines, 'silent', 'max-time = 10', "cacert = \"$dir/ca.crt\"", 'noproxy = "*"',
            "write-out = \"\\t$case->{name}\\t%{http_code}\\t%header{x-requests}\\n\"";
        push @lines, 'request = "POST"' if $shape ne 'get';
        push @lines, 'header = "Expect: 100-continue"', 'expect100-timeout = 5' if $shape eq 'expect';
        push @lines, 'header = "Content-Type: text/plain"' if $text !~ /^grant_type=/;

        if ($shape eq 'chunked') {
            push @pipes, ["$dir/pipe-" . @pipes, $text];
            POSIX::mkfifo($pipes[-1][0], 0600) or die "mkfifo: $!\n";
            push @lines, "upload-file = \"$pipes[-1][0]\"";
            push @lines, 'header = "Content-Type: application/x-www-form-urlencoded"' if $text =~ /^grant/;

        } elsif ($shape ne 'get') {
            my $file = "$dir/body-" . length $text . md5_hex($text);
            push @lines, "data-binary = \"\@" . spew($file, $text) . '"';
        }

        push @config, join "\n", @lines, '';
    }

    my @runs = "@options" =~ /prior/ ? @config : join "next\n", @config;

    my $writer = fork // die "fork: $!\n";
    feed(@pipes) if !$writer;

    my $output = '';

    for (@runs) {
        spew("$dir/curlrc", $_);
        $output .= `timeout -k 5 90 curl -K $dir/curlrc 2> $dir/stderr`;
    }

    kill KILL => $writer;
    waitpid $writer, 0;
    unlink map { $_->[0] } @pipes;

    # the body comes first
    return join '', map { "$_\n" } map { /^(.*?)\t(.*)$/ ? "$2\t$1" : $_ } split /\n/, $output;
}


# Writes each body into its pipe, in two parts. curl may leave after the first.
sub feed {
    local $SIG{PIPE} = 'IGNORE';

    for (@_) {
        my ($pipe, $text) = @$_;

        open my $out, '>', $pipe or last;
        syswrite $out, substr $text, 0, length($text) / 2;
        sleep 0.05;
        syswrite $out, substr $text, length($text) / 2;
        close $out;
    }

    POSIX::_exit(0);
}


sub active {
    my ($active) = $nginx->get('/status', Connection => 'close')->{content}
        =~ /Active connections: (\d+)/;

    return $active;
}


sub cached_token { $nginx->get('/cached?key=load')->{content} }


# An API that says what it was sent: one request a connection.
sub serve_api {
    my ($client) = @_;
    my ($head, $body) = ('', '');

    while (defined(my $line = <$client>)) {
        last if $line eq "\r\n";
        $head .= $line;
    }

    my ($length) = $head =~ /^Content-Length: (\d+)/mi;
    read $client, $body, $length if $length;

    my ($token) = $head =~ /^Authorization: ([^\r]*)/m;
    my $seen = join ' ', $token // 'none', $head =~ /^(\w+)/, length $body, md5_hex($body);

    print $client "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ", length $seen,
        "\r\n\r\n$seen";
}


sub server {
    my $http2 = $CURL2 ? 'http2' : '';
    my ($on, $listen) = ('', "listen 127.0.0.1:$h2 $http2; listen 127.0.0.1:$tls ssl $http2;");

    if ($http2 && nginx_since('1.25.1')) {
        $listen =~ s/ http2;/;/g;
        $on = 'http2 on;';
    }

    return Token::Server->new(log_level => 'info', http => <<"END", server => <<"END2")->start;
    token_proxy_cache_zone     zone=tokens:1m;
    token_proxy_client_id      my-key;
    token_proxy_client_secret  my-secret;
    client_max_body_size       4m;
    keepalive_requests         10000;
    add_header                 X-Requests \$connection_requests always;
END
        $on
        listen 127.0.0.1:$h1;
        $listen
        ssl_certificate      @{[$cert->file]};
        ssl_certificate_key  @{[$cert->key]};

        location = /fast {
            token_proxy           on;
            token_proxy_endpoint  @{[$fast->url]};
        }

        location = /slow {
            token_proxy           on;
            token_proxy_endpoint  @{[$slow->url]};
        }

        location = /cached {
            token_proxy            on;
            token_proxy_endpoint   @{[$slow->url]};
            token_proxy_cache      tokens;
            token_proxy_cache_key  \$arg_key;
        }

        location = /refresh {
            token_proxy                on;
            token_proxy_endpoint       @{[$slow->url]};
            token_proxy_refresh_grant  on;
            token_proxy_cache          tokens;
        }

        location = /api {
            token_proxy_bearer  /cached;
            proxy_pass          http://127.0.0.1:@{[$api->port]};
        }

        location = /status {
            access_log  off;
            stub_status;
        }
END2
}
