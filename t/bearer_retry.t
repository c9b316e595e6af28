# token_proxy_bearer_retry in company: what has been done for a request is not
# done again when it is repeated with another token.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 20;
use Token::Cache;
use Token::Endpoint;
use Token::Server;
use Token::Util qw(spew wait_for);

my $endpoint = Token::Endpoint->new;
my $api = Token::Endpoint->new(body => 'data');
my $other = Token::Endpoint->new(body => 'other');
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

$nginx->stop('QUIT');

no_secrets($nginx, qr/Bearer A/);
unlike($nginx->error_log, qr/\[(?:alert|crit|emerg)\](?!.*(?:exit|signal))/,
    'no alert in the error log');
