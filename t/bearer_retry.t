# token_proxy_bearer_retry in company: what has been done for a request is not
# done again when it is repeated with another token.

use strict;
use warnings;
use lib 't/lib';

use Digest::MD5 qw(md5_hex);
use Test::More tests => 90;
use Token::Cache;
use Token::Endpoint;
use Token::Peer;
use Token::Server;
use Token::Util qw(spew wait_for);

my $endpoint = Token::Endpoint->new;
my $api = Token::Endpoint->new(body => 'data');
my $other = Token::Endpoint->new(body => 'other');
my $fastcgi = Token::Peer->fastcgi;
my $a = 'http://127.0.0.1:' . $api->port;
my $o = 'http://127.0.0.1:' . $other->port;

my $nginx = Token::Server->new(
    http => zone() . "proxy_cache_path \@DIR\@/cache keys_zone=cache:1m;\n",
    server => location('token', $endpoint->url, 'internal',
        'token_proxy_retry_backoff 1ms 1s') . <<"END",
        location /files/ {
            token_proxy_bearer  /token;
            try_files           \$uri.html =404;
            proxy_pass          $a;
        }

        location /mirrored/ {
            token_proxy_bearer  /token;
            mirror              /mirror;
            proxy_pass          $a;
        }

        location = /mirror { internal; proxy_pass $o; }

        location /sliced/ {
            token_proxy_bearer  /token;
            slice               10;
            proxy_cache         cache;
            proxy_cache_key     \$uri\$slice_range;
            proxy_cache_valid   200 206 1h;
            proxy_set_header    Range \$slice_range;
            proxy_http_version  1.1;
            proxy_pass          $a;
        }

        # bodies: in memory up to 8k
        client_body_buffer_size  8k;
        client_max_body_size     10m;

        location /any/ {
            token_proxy_bearer        /token;
            token_proxy_bearer_retry  on non_idempotent;

            location /any/1.0/ {
                proxy_http_version  1.0;
                proxy_pass          $a;
            }

            location /any/1.1/ {
                proxy_http_version  1.1;
                proxy_pass          $a;
            }

            location /any/status/ {
                token_proxy_bearer_retry  403;
                proxy_pass                $a;
            }

            location /any/streamed/ {
                proxy_http_version       1.1;
                proxy_request_buffering  off;
                proxy_pass               $a;
            }

            location /any/fastcgi/ {
                fastcgi_param  REQUEST_METHOD  \$request_method;
                fastcgi_param  CONTENT_LENGTH  \$content_length;
                fastcgi_param  REFUSE          \$arg_refuse;
                fastcgi_pass   127.0.0.1:@{[ $fastcgi->port ]};
            }
        }
END
);

mkdir $nginx->dir . '/html/files';
spew($nginx->dir . '/html/files/x.html', 'a file that is only looked for');
$nginx->start;
$nginx->get('/mirrored/first');


# try_files has found its file, and sees what it has made of the URI no more
{
    $api->reset;
    $api->next({ status => 401 });

    my $got = $nginx->get('/files/x');

    is($got->{status}, 200, 'try_files: the request is repeated');
    is_deeply([map { m{^GET (\S+)} } $api->requests], [("/files/x") x 2],
        '... as it was');
}


# a mirror gets one
{
    $api->reset;
    $other->reset;
    $api->next({ status => 401 });

    is($nginx->get('/mirrored/x')->{status}, 200, 'mirror: the request is repeated');
    is($api->calls, 2, '... to the API');
    ok(wait_for { $other->calls == 1 }, '... and mirrored once');
}


# an empty body is none
for my $body ("Content-Length: 0\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Content-Length: 1\r\n\r\nx")
{
    my ($header) = $body =~ /^(.*?)\r/;

    $api->reset;
    $api->next({ status => 401 });

    my $answer = $nginx->raw("GET /files/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n$body");
    my $status = $header =~ /1/ ? 401 : 200;

    like($answer, qr/^HTTP\/1.1 $status /, "GET with $header: $status");
    is($api->calls, $status == 200 ? 2 : 1, '... and so many calls of the API');
}


# each slice is a request of its own
{
    my @slices = map { {
        status => 206, body => $_ x 10,
        headers => ['Content-Range' => sprintf 'bytes %d-%d/40', $_ * 10, $_ * 10 + 9],
    } } 0 .. 3;

    $nginx->get('/mirrored/x');
    $api->reset;
    $endpoint->reset;
    $api->next({ status => 401 }, @slices[0, 1], { status => 401 }, @slices[2, 3]);

    my $got = $nginx->get('/sliced/x');

    is($got->{status}, 200, 'slices: the first one is repeated');
    is($got->{content}, join('', map { $_ x 10 } 0 .. 3), '... the third one too');
    is($endpoint->calls, 2, '... with a token each');

    my @tokens = map { /^Authorization: Bearer (\S+)\r$/m } $api->requests;

    is(scalar(@tokens), 6, '... all with tokens');
    is($tokens[1], $tokens[2], '... a slice has the token of the one before');
    isnt($tokens[3], $tokens[4], '... the repeated one another');
    is($tokens[4], $tokens[5], '... which the next one has, too');
}

# non_idempotent: a body that nginx has is sent again, all of it
my %body = (
    memory => 'm' x 1000,
    file => join('', map { "line $_\n" } 1 .. 20000),
);

for my $version ('1.0', '1.1') {
    for my $where (sort keys %body) {
        my $body = $body{$where};
        my $length = length $body;
        my $name = "HTTP/$version, a body in " . ($where eq 'file' ? 'a file' : 'memory');

        for my $caller ('Content-Length', 'chunked') {
            my $head = "POST /any/$version/$where HTTP/1.1\r\nHost: a\r\n"
                . "Connection: close\r\n";

            $api->reset;
            $api->next({ status => 401 });

            my $answer = $nginx->raw($caller eq 'chunked'
                ? $head . "Transfer-Encoding: chunked\r\n\r\n" . chunked($body)
                : $head . "Content-Length: $length\r\n\r\n$body");
            my @requests = $api->requests;

            like($answer, qr/^HTTP\/1\.1 200 /, "POST, $name, $caller: it is repeated");
            is(scalar(@requests), 2, '... once');

            my @sent = map { (split /\r\n\r\n/, $_, 2)[1] } @requests;

            is_deeply([map { length($_) . md5_hex($_) } @sent],
                [($length . md5_hex($body)) x 2], '... with the same body');

            my @tokens = map { /^Authorization: Bearer (\S+)\r$/m } @requests;

            is(scalar(keys %{ { map { $_ => 1 } @tokens } }), 2, '... and another token');
        }

        # the token is refused twice
        $api->reset;
        $api->next({ status => 401 }, { status => 401 });

        my $got = $nginx->request(PUT => "/any/$version/twice", {}, $body);

        is($got->{status}, 401, "PUT, $name: refused twice, the caller gets it");
        is($api->calls, 2, '... and it is not repeated again');

        $api->reset;
        $api->next({ status => 401 });
        is($nginx->request(PATCH => "/any/$version/next", {}, $body)->{status}, 200,
            'PATCH as well');

        $api->reset;
        $api->next({ status => 404 });
        is($nginx->request(POST => "/any/$version/404", {}, $body)->{status}, 404,
            '... but not for another status');
        is($api->calls, 1, '... once');
        is($nginx->request(POST => "/any/$version/next", {}, $body)->{status}, 200,
            '... and the next one is as ever');
    }
}

# what else is repeated, and what is not
{
    my $post = sub {
        my ($path, $status) = @_;

        $api->reset;
        $api->next({ status => $status });

        return ($nginx->request(POST => $path, {}, $body{file})->{status}, $api->calls);
    };

    $api->reset;
    $api->next({ status => 401 });
    is($nginx->request(DELETE => '/any/1.1/x', {})->{status}, 200, 'DELETE is repeated');
    is_deeply([$post->('/any/status/x', 403)], [403, 1],
        'without non_idempotent a POST is not');
    is_deeply([$post->('/files/x', 401)], [401, 1], '... as it is without the directive');
    is_deeply([$post->('/any/streamed/x', 401)], [401, 1],
        'nor with it, if the body is streamed');

    $api->reset;
    $api->next({ status => 401 });
    is($nginx->request(POST => '/any/streamed/x', {}, '')->{status}, 200,
        '... but if there is none');

    $api->reset;
    $api->next({ status => 401 });
    like($nginx->raw("POST /any/streamed/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        . "Transfer-Encoding: chunked\r\n\r\n" . chunked($body{file})),
        qr/^HTTP\/1\.1 401 /, '... nor chunked');

    for my $where (sort keys %body) {
        my $body = $body{$where};
        my ($token) = $nginx->get('/any/fastcgi/')->{content}
            =~ /^HTTP_AUTHORIZATION=Bearer (\S+)$/m;
        my $got = $nginx->request(POST => "/any/fastcgi/?refuse="
            . md5_hex("Bearer $token"), {}, $body);

        is($got->{status}, 200, "FastCGI, a body in $where: it is repeated");
        like($got->{content}, qr/^REQUEST_METHOD=POST$/m, '... as a POST');
        like($got->{content}, qr/^BODY=@{[ length $body ]} @{[ md5_hex($body) ]}$/m,
            '... with the same body');
        unlike($got->{content}, qr/^HTTP_AUTHORIZATION=Bearer \Q$token\E$/m,
            '... and another token');
    }
}

$nginx->stop('QUIT');

no_secrets($nginx, qr/Bearer A/);
unlike($nginx->error_log, qr/\[(?:alert|crit|emerg)\](?!.*(?:exit|signal))/,
    'no alert in the error log');


sub chunked {
    my ($text) = @_;
    my $chunks = '';

    $chunks .= sprintf "%x\r\n%s\r\n", length, $_ for unpack '(a3000)*', $text;

    return "${chunks}0\r\n\r\n";
}
