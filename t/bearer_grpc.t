# token_proxy_bearer and gRPC: a call that the API refuses with grpc-status 16
# is one with a token that is no longer good, though its HTTP status is 200.

use strict;
use warnings;
use lib 't/lib';

use Test::More;
use IPC::Open2 qw(open2);
use IO::Socket::INET;
use JSON::PP qw(decode_json encode_json);
use POSIX ();
use Token::Cache;
use Token::Endpoint;
use Token::Server;
use Token::Util qw($NGINX $ROOT free_port need_npm slurp spew work_dir);

plan(skip_all => 'nginx has no HTTP/2') if `$NGINX -V 2>&1` !~ /--with-http_v2_module/;
need_npm('@grpc/grpc-js');
plan(tests => 214);

my $dir = work_dir();
my $raw = raw_server();
my $h2 = free_port();
my $endpoint = Token::Endpoint->new;
my $api = Token::Endpoint->new(body => 'data');

my $pid = open2(my $out, my $in, 'node', "$ROOT/t/grpc/peer.mjs");
chomp(my $peer = <$out> // die "the gRPC server did not start\n");

my $nginx = Token::Server->new(
    http => zone() . <<"END",
    server {
        listen     127.0.0.1:$h2 http2;
        error_log  \@DIR\@/logs/error.log debug;

        location = /token {
            internal;
            token_proxy                on;
            token_proxy_endpoint       @{[ $endpoint->url ]};
            token_proxy_cache          tokens;
            token_proxy_retry_backoff  1ms 1s;
        }

        location /test.Echo/ {
            token_proxy_bearer  /token;
            grpc_pass           grpc://127.0.0.1:$peer;
        }
    }
END
    server => location('token', $endpoint->url, 'internal',
        'token_proxy_cache_key raw', 'token_proxy_retry_backoff 1ms 1s') . <<"END",
        location /call/ {
            token_proxy_bearer  /token;
            grpc_pass           grpc://127.0.0.1:$raw;
        }

        location /if/ {
            token_proxy_bearer  /token;
            grpc_pass           grpc://127.0.0.1:$raw;

            if (\$arg_x) {
                set \$y 1;
            }
        }

        location /off/ {
            token_proxy_bearer        /token;
            token_proxy_bearer_retry  off;
            grpc_pass                 grpc://127.0.0.1:$raw;
        }

        location /403/ {
            token_proxy_bearer        /token;
            token_proxy_bearer_retry  403;
            grpc_pass                 grpc://127.0.0.1:$raw;
        }

        location /again/ {
            token_proxy_bearer        /token;
            token_proxy_bearer_retry  on non_idempotent;
            grpc_pass                 grpc://127.0.0.1:$raw;
        }

        location /http/ {
            token_proxy_bearer  /token;
            proxy_pass          http://127.0.0.1:@{[ $api->port ]};
        }
END
)->start;


# What a server may answer: frames of HTTP/2. A call that may be repeated is one
# that has no body: GET, which gRPC itself does not use.
{
    my @cases = (
        # location, answer, whether the token is dropped
        ['/call/x', 'grpc-status 16', [200, [16]], 1],
        ['/call/x', '... among other headers', [200, [16], 'a' x 300], 1],
        ['/call/x', '... in two frames', [200, [16], 'split'], 1],
        ['/call/x', '... with HTTP status 204', [204, [16]], 1],
        ['/if/x?x=1', '... in an "if"', [200, [16]], 1],
        ['/call/x', 'HTTP status 401', [401, []], 1],
        ['/call/x', 'HTTP status 401 and another grpc-status', [401, [0]], 1],
        ['/again/x', 'grpc-status 16, with non_idempotent', [200, [16]], 1],
        ['/403/x', 'grpc-status 7, for 403', [200, [7]], 1],
        ['/call/x', 'grpc-status 7, for 401', [200, [7]], 0],
        ['/403/x', 'grpc-status 16, for 403', [200, [16]], 0],
        ['/off/x', 'grpc-status 16, for none', [200, [16]], 0],
        ['/call/x', 'grpc-status 0', [200, [0]], 0],
        ['/call/x', 'grpc-status 1', [200, [1]], 0],
        ['/call/x', 'grpc-status 160', [200, [160]], 0],
        ['/call/x', 'grpc-status 016', [200, ['016']], 0],
        ['/call/x', 'no grpc-status', [200, []], 0],
        ['/call/x', 'grpc-status 16 after a message', [200, [16], 'late'], 0],
        ['/call/x', 'HTTP status 403 and grpc-status 16', [403, [16]], 0],
    );

    for my $method (qw(GET POST)) {
        for (@cases) {
            my ($path, $name, $answer, $dropped) = @$_;
            my $again = $dropped && $method eq 'GET';

            $nginx->get('/call/ready');

            my $before = $endpoint->calls;

            answers($answer);

            my $got = $nginx->request($method => $path, {},
                $method eq 'POST' ? 'a message' : undef);
            my @calls = calls();

            is(scalar(@calls), $again ? 2 : 1, "$method $path: $name: "
                . ($again ? 'is repeated' : 'is not repeated'));
            is($got->{status}, $again ? 200 : $answer->[0], '... the status');
            is($got->{headers}{'grpc-status'},
                $again ? undef : $answer->[1][0], '... of gRPC too');
            isnt($calls[0], $calls[1], '... with another token') if $again;

            $nginx->get('/call/next');
            is($endpoint->calls - $before, $dropped, $dropped
                ? '... and the token is dropped' : '... and the token stays');
        }
    }

    like($nginx->error_log,
        qr/\[warn\] .* was refused with status 401 \(grpc-status\)/,
        'the log says how it was refused');
    like($nginx->error_log, qr/\[warn\] .* was refused with status 401 while/,
        '... or by HTTP');
}


# grpc-status means nothing to proxy_pass
{
    $nginx->get('/http/ready');
    $api->reset;

    my $before = $endpoint->calls;


    $api->next({ headers => ['grpc-status' => 16] });
    $nginx->get('/http/x');
    $nginx->get('/http/x');
    is($api->calls, 2, 'proxy_pass: a response with grpc-status 16 is a response');
    is($endpoint->calls, $before, '... and the token stays');
}


# a real server, and a real client
{
    my %messages = (unary => ['hello'], client => ['a b c'], both => [qw(a b c)],
        server => [map { "hello$_" } 1 .. 3]);

    for my $call (sort keys %messages) {
        my $first = call($call);

        is($first->{code}, 0, "$call: a call");
        is_deeply($first->{messages}, $messages{$call}, '... its messages');
        like($first->{seen}[0], qr/^Bearer AT-\d+$/, '... with the token');

        refuse(@{ $first->{seen} });
        my $refused = call($call);

        is($refused->{code}, 16, '... which is revoked: UNAUTHENTICATED');
        is_deeply($refused->{seen}, $first->{seen}, '... in one call');

        my $next = call($call);

        is($next->{code}, 0, '... the next call');
        is_deeply($next->{messages}, $messages{$call}, '... has its messages');
        isnt($next->{seen}[0], $first->{seen}[0], '... with another token');

        refuse(@{ $next->{seen} });
        my $retried = call($call, 1);

        is($retried->{code}, 0, '... a client that repeats calls');
        is_deeply($retried->{messages}, $messages{$call},
            '... does not see that a token is revoked');
        is(scalar(@{ $retried->{seen} }), 2, '... after two calls');
    }

    # a message has been sent to the client before the status comes
    my $first = call('late');

    is_deeply([$first->{code}, $first->{messages}], [0, ['hello']], 'late');
    refuse(@{ $first->{seen} });
    is(call('late')->{code}, 16, '... refused after a message');
    is_deeply(call('late')->{seen}, $first->{seen}, '... keeps the token');
}

close $in;
waitpid $pid, 0;
$nginx->stop('QUIT');

no_secrets($nginx, qr/Bearer A/);
unlike($nginx->error_log, qr/\[(?:alert|crit|emerg)\](?!.*(?:exit|signal))/,
    'no alert in the error log');


sub command {
    print $in encode_json($_[0]), "\n";
    $in->flush;
    return decode_json(scalar(<$out>) // die "the gRPC server has ended\n");
}

sub call { return command({ call => $_[0], port => $h2, retry => $_[1] ? \1 : \0 }) }
sub refuse { return command({ refuse => [@_] }) }


# The header blocks of calls since the answers were set.
sub calls { return split /\n/, slurp("$dir/calls") }


# [status, [grpc-status], how]: of the next call; those after it are good ones
sub answers {
    spew("$dir/calls", '');
    spew("$dir/answers", encode_json([@_]));
    return;
}


# A server of HTTP/2 that knows nothing but frames.
sub raw_server {
    my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
        Proto => 'tcp', Listen => 16) or die "listen: $!\n";
    my $owner = $$;
    my $child = fork // die "fork: $!\n";

    if ($child == 0) {
        $SIG{PIPE} = 'IGNORE';

        while (getppid == $owner && (my $client = $listen->accept)) {
            eval { serve($client) };
            close $client;
        }

        POSIX::_exit(0);
    }

    my $port = $listen->sockport;

    close $listen;
    eval 'END { local $?; kill KILL => $child if $$ == $owner }';
    return $port;
}


sub serve {
    my ($client) = @_;
    my $block = '';

    take($client, 24);
    frame($client, 4, 0, 0, '');

    while (1) {
        my ($high, $low, $type, $flags, $id) = unpack 'CnCCN', take($client, 9);
        my $content = take($client, $high << 16 | $low);

        frame($client, 4, 1, 0, '') if $type == 4 && !($flags & 1);
        $block .= $content if $type == 1 || $type == 9;

        next unless $type <= 1 && $flags & 1;

        open my $log, '>>', "$dir/calls";
        print $log unpack('H*', $block), "\n";
        close $log;
        $block = '';

        my @answers = @{ decode_json(slurp("$dir/answers") || '[]') };
        my $answer = shift @answers;

        spew("$dir/answers", encode_json(\@answers));
        reply($client, $id, @{ $answer // [200, []] });
    }
}


sub reply {
    my ($client, $id, $status, $grpc, $how) = @_;

    $how //= '';

    my $head = literal(':status', $status)
        . literal('content-type', 'application/grpc')
        . literal('x-more', $how);
    my $trailers = join '', map { literal('grpc-status', $_) } @$grpc;

    if ($how eq 'late') {
        frame($client, 1, 4, $id, $head);
        frame($client, 0, 0, $id, "\0\0\0\0\1x");
        frame($client, 1, 5, $id, $trailers);

    } elsif ($how eq 'split') {
        frame($client, 1, 1, $id, $head);
        frame($client, 9, 4, $id, $trailers);

    } else {
        frame($client, 1, 5, $id, $head . $trailers);
    }

    return;
}


# HPACK: not indexed, a new name (RFC 7541 6.2.2)
sub literal {
    my ($name, $value) = @_;

    return "\0" . join '', map {
        (length > 126 ? "\x7f" . integer(length($_) - 127) : chr length) . $_
    } $name, $value;
}


sub integer {
    my ($n) = @_;
    my $bytes = '';

    for ( ; $n > 127; $n >>= 7) {
        $bytes .= chr($n & 127 | 128);
    }

    return $bytes . chr $n;
}


sub frame {
    my ($client, $type, $flags, $id, $content) = @_;

    return syswrite $client, pack('CnCCN', length($content) >> 16,
        length($content) & 0xffff, $type, $flags, $id) . $content;
}


sub take {
    my ($client, $length) = @_;
    my $bytes = '';

    while (length $bytes < $length) {
        sysread $client, $bytes, $length - length $bytes, length $bytes
            or die "closed\n";
    }

    return $bytes;
}
