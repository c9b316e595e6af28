# What token_proxy_bearer rests on in nginx's upstream code, version by version:
# a check has the name of what has changed if it fails. See the comments in
# ngx_http_token_bearer_upstream.c.

use strict;
use warnings;
use lib 't/lib';

use Test::More;
use Time::HiRes qw(sleep);
use Token::Bearer;
use Token::Cache;
use Token::Client;
use Token::Http2;
use Token::Util qw($NGINX free_port spew wait_for);

my @modules = qw(proxy grpc fastcgi uwsgi scgi);
my @bodies = bodies();
my @headers = headers();
my @refused = qw(kept unbuffered cached included);

plan(tests => 5 * @modules + 4 * @bodies + 4 + 3 * @headers + 4
    + 6 * @refused + 4 + 5 * 3);


# the debug log: a header that a directive sets is written to it
{
    my $dead = free_port();

    part(join '', map {
        my ($url, $add) = ("127.0.0.1:$dead", $_ . ($_ eq 'proxy' || $_ eq 'grpc'
            ? '_set_header Authorization' : '_param HTTP_AUTHORIZATION'));

        $url = "http://$url" if $_ eq 'proxy';
        <<"END" } @modules);
        location /own/$_ {
            set      \$given "Bearer own-$_";
            $add     \$given;
            ${_}_pass  $url;
        }

        location /token/$_ {
            token_proxy_bearer  /token;
            ${_}_pass             $url;
        }
END

    for my $module (@modules) {
        my $log = log_of("/own/$module");

        ok($log =~ /\[debug\] .*http script var: "Bearer own-$module"/,
            "$module: the debug log has the variable of a header that is set");
        ok($log =~ /\[debug\] .*(?:header|param):.*?authorization: Bearer own-$module/is,
            '... and the header');

        $log = log_of("/token/$module");

        ok($log =~ /connect\(\) failed .* upstream: "\w+:\/\/127\.0\.0\.1:$dead/,
            '... with token_proxy_bearer the request is made');
        ok($log !~ /AT-\d/, '... and the log has no token');
        ok($log =~ /\[debug\] .*http upstream connect/,
            '... and is one for debugging before and after');
    }
}


# r->aio, and when the body is read
{
    my $h2 = free_port();
    my $locations = <<"END";
        client_max_body_size  2m;

        location /api/ {
            token_proxy_bearer  /token;
            proxy_pass          $api_url/;
        }

        location /unbuffered/ {
            token_proxy_bearer       /token;
            proxy_pass               $api_url/;
            proxy_request_buffering  off;
        }

        location /mirrored/ {
            token_proxy_bearer  /token;
            mirror              /mirror;
            proxy_pass          $api_url/;
        }

        location = /mirror { internal; proxy_pass $other_url; }
END

    part($locations, <<"END");
    server {
        listen  127.0.0.1:$h2 http2;
        proxy_http_version  1.1;
        proxy_set_header    Connection "";
        @{[ location('token', $endpoint->url, 'internal') ]}
        $locations
    }
END

    for (@bodies) {
        my ($name, $pieces, $body) = @$_;

        $api->reset;

        my $answer = ref $pieces ? in_pieces(@$pieces) : over_http2($h2, $pieces);
        my @sent = $api->requests;

        SKIP: {
            skip('no HTTP/2', 4) if !defined $answer;

            like($answer, qr/^HTTP\/\S+ 200\b/,
                "$name: ngx_http_upstream_init() is called when the body is there");
            is(scalar(@sent), 1, '... and once, as r->aio stops the first call');
            like(authorization($sent[0] // ''), qr/^Bearer AT-\d+$/,
                '... when create_request has been replaced');
            is(body($sent[0] // ''), $body, '... with the body');
        }
    }
}


# create_request, called by an event
{
    part(<<"END");
        location /locked/ {
            token_proxy_bearer        /token;
            proxy_pass                $api_url/;
            proxy_cache               cache;
            proxy_cache_key           any;
            proxy_cache_valid         any 1m;
            proxy_cache_lock          on;
            proxy_cache_lock_timeout  1s;
        }
END

    my $client = Token::Client->new($nginx->port);

    $api->next({ delay => 4 });
    $client->send('/locked/x');
    wait_for { $api->calls == 1 };
    $client->send('/locked/x', Authorization => 'Basic caller');

    my @got = $client->receive(15);

    is(scalar(grep { $_->{status} == 200 } @got), 2,
        'two requests for what is not in the cache yet');
    like($nginx->error_log, qr/cache lock timeout/,
        '... ngx_http_upstream_cache() returned NGX_BUSY for the second one');
    is(scalar($api->requests), 2, '... which was sent later');
    is_deeply([map { authorization($_) } $api->requests], [('Bearer AT-1') x 2],
        '... with the token');
}


# the list of headers
{
    part(<<"END");
        large_client_header_buffers  8 16k;

        location /api/ {
            token_proxy_bearer         /token;
            token_proxy_bearer_header  X-Token;
            proxy_pass                 $api_url/;
            proxy_set_header           X-Seen \$http_x_header_1;
        }
END

    for (@headers) {
        my ($n, $own) = @$_;
        my @lines = map { "X-Header-$_: $_" } 1 .. $n;

        splice @lines, $_, 0, 'X-TOKEN: mine' for @$own;
        $api->reset;
        $nginx->raw(join "\r\n", 'GET /api/x HTTP/1.0', @lines, '', '');

        my $sent = last_request($api) // '';
        my $name = "$n headers" . (@$own
            ? ' and one of that name behind ' . join ' and ', @$own : '');

        is_deeply([$sent =~ /^X-Token: (.*?)\r$/mig], ['AT-1'],
            "$name: a part of the list in front of the others is sent");
        is_deeply([$sent =~ /^X-Header-\d+: (\d+)\r$/mg], [1 .. $n],
            '... and all others');
        is(header($sent, 'X-Seen'), $n ? 1 : undef, '... and are found by name');
    }

    like($nginx->get('/api/x', 'X-Header-1' => 'a' x 9000)->{content}, qr/^data/,
        'a large header');
    is(length header(last_request($api), 'X-Header-1'), 9000, '... is sent');
    is(length header(last_request($api), 'X-Seen'), 9000, '... and found');
    is(header(last_request($api), 'X-Token'), 'AT-1', '... beside the token');
}


# an upstream that ends inside its process_header
{
    part(<<"END");
        location /kept/ {
            token_proxy_bearer  /token;
            proxy_pass          $api_url/;
        }

        location /unbuffered/ {
            token_proxy_bearer  /token;
            proxy_pass          $api_url/;
            proxy_buffering     off;
        }

        location /cached/ {
            token_proxy_bearer  /token;
            proxy_pass          $api_url/;
            proxy_cache         cache;
            proxy_cache_valid   any 1m;
        }

        location = /included/x {
            ssi        on;
            ssi_types  *;
            alias      \@DIR\@/html/page.html;
        }
END

    spew($nginx->dir . '/html/page.html',
        '<!--#include virtual="/kept/x" --><!--#include virtual="/kept/y" -->');

    for my $how (@refused) {
        sleep 0.05;
        $nginx->get('/kept/first');
        $api->reset;
        $api->next({ status => 401, body => 'no' });

        my $socket = $nginx->connect;
        my $log = length $nginx->error_log;

        my $first = on_connection($socket, "/$how/x");
        my $calls = $api->calls;
        my $second = on_connection($socket, "/$how/x");

        close $socket;
        $log = substr $nginx->error_log, $log;

        like($first, qr/^HTTP\/1.1 200 .*data \d/s,
            "$how: a refused request is sent again");
        is($calls, $how eq 'included' ? 3 : 2, '... once');
        ok($log =~ /finalize http upstream request: -4\n/,
            '... the cleanup handler is that of the upstream');
        ok($log =~ /finalize http upstream request: 500\n.* http finalize request: -4,/,
            '... which has ended already for who called process_header');
        like($second, qr/^HTTP\/1.1 200 /,
            '... the connection goes on, so the request has ended');
        ok(wait_for { stub() == 1 }, '... and goes when the client does');
    }

    my @statuses = $nginx->access_log =~ /^(\d+) \/\w+\/x/mg;

    is(scalar(@statuses), 2 * @refused, 'each request has ended once');
    is_deeply([grep { $_ != 200 } @statuses], [], '... with what came second');

    my $before = $endpoint->calls;

    sleep 0.05;
    $api->next({ status => 401 }, { status => 401 });
    is($nginx->get('/kept/x')->{status}, 401, 'refused twice: is the client\'s');
    is($endpoint->calls, $before + 1, '... after another token');
}

finish();


# name, pieces as they are sent (or the path for HTTP/2), what the API gets
sub bodies {
    my $some = 'b' x 6000;
    my $large = 'b' x 300_000;
    my $post = sub { "POST $_[0] HTTP/1.1\r\nHost: a\r\nConnection: close\r\n$_[1]\r\n\r\n" };
    my @bodies = (['no body',
        ["GET /api/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"], '']);

    for my $where (qw(api unbuffered mirrored)) {
        my $head = $post->("/$where/x", 'Content-Length: 5');
        my $chunked = $post->("/$where/x", 'Transfer-Encoding: chunked');

        push @bodies,
            ["/$where/: a body with its header", [$head . 'hello'], 'hello'],
            ["/$where/: a body with its header, larger than the header's buffer",
                [$post->("/$where/x", 'Content-Length: 6000') . $some], $some],
            ["/$where/: a late body", [$head, 'hello'], 'hello'],
            ["/$where/: a body half of which is late", [$head . 'he', 'llo'], 'hello'],
            ["/$where/: a late body, larger than its buffer",
                [$post->("/$where/x", 'Content-Length: 300000'), $large], $large],
            ["/$where/: a late body over HTTP/2", "/$where/x", 'hello'];

        # the API takes no chunks
        push @bodies,
            ["/$where/: a late body in chunks",
                [$chunked, "5\r\nhello\r\n", "0\r\n\r\n"], 'hello'],
            ["/$where/: an empty body in chunks", [$chunked . "0\r\n\r\n"], '']
            if $where ne 'unbuffered';
    }

    return @bodies;
}


# how many headers, and behind which of them one with the token's name
sub headers {
    return ([0, []], [1, []], [19, []], [20, []], [21, []], [45, []],
        [0, [0]], [0, [0, 0]], [19, [19]], [20, [0]], [20, [20]], [45, [20, 0]]);
}


sub log_of {
    my ($path) = @_;
    my $before = length $nginx->error_log;

    $nginx->get($path);

    return substr $nginx->error_log, $before;
}


sub in_pieces {
    my (@pieces) = @_;
    my $socket = $nginx->connect;
    my $answer = '';

    while (@pieces) {
        print $socket shift @pieces;
        $socket->flush;
        sleep 0.2 if @pieces;
    }

    local $SIG{ALRM} = sub { die "timeout\n" };
    alarm 10;
    eval { 1 while sysread $socket, $answer, 65536, length $answer };
    alarm 0;

    return $answer;
}


# A body that comes late, as HTTP/1 would write the status.
sub over_http2 {
    my ($port, $path) = @_;

    return if `$NGINX -V 2>&1` !~ /--with-http_v2_module/;

    my $client = Token::Http2->connect(port => $port);
    my $id = $client->request($path, method => 'POST', open => 1,
        headers => ['content-length' => 5]);

    Token::Http2::run(0.3, sub { 0 }, $client);
    $client->data($id, 'hello', end => 1);
    Token::Http2::run(10, sub { $client->stream($id)->{ended} }, $client);

    my $stream = $client->stream($id);

    $client->close;

    return 'HTTP/2 ' . ($stream->{status} // '');
}


# A request on a connection that is kept, and its answer.
sub on_connection {
    my ($socket, $path) = @_;
    my $answer = '';

    print $socket "GET $path HTTP/1.1\r\nHost: a\r\n\r\n";
    $socket->flush;

    local $SIG{ALRM} = sub { die "timeout\n" };
    alarm 10;
    eval {
        while ($answer !~ /\r\n\r\n/ || !complete($answer)) {
            sysread $socket, $answer, 65536, length $answer or last;
        }
    };
    alarm 0;

    return $answer;
}


sub complete {
    my ($head, $body) = split /\r\n\r\n/, $_[0], 2;

    return $head =~ /^Content-Length: (\d+)/mi ? length $body >= $1
        : $body =~ /(?:^|\r\n)0\r\n\r\n\z/;
}


sub body { return (split /\r\n\r\n/, $_[0], 2)[1] // '' }
