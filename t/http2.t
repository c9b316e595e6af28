# Callers who speak HTTP/2.

use strict;
use warnings;

use lib 't/lib';
use Test::More;
use Token::Cert;
use Token::Endpoint;
use Token::Server;
use Token::Util qw($NGINX free_port slurp wait_for work_dir);

my $version = `$NGINX -V 2>&1`;

plan(skip_all => 'nginx has no HTTP/2') if $version !~ /--with-http_v2_module/;
plan(skip_all => 'curl has no HTTP/2') if `curl -V` !~ /\bHTTP2\b/;
plan(tests => 27);

my ($major, $minor, $patch) = $version =~ m{nginx/(\d+)\.(\d+)\.(\d+)};
my $new = sprintf('%d%03d%03d', $major, $minor, $patch) >= 1025001;
my $port = free_port();
my $tls_port = free_port();
my $cert = Token::Cert->authority(work_dir(), 'localhost');
my $listen = $new ? 'listen 127.0.0.1:PORT; listen 127.0.0.1:TLS ssl; http2 on;'
    : 'listen 127.0.0.1:PORT http2; listen 127.0.0.1:TLS ssl http2;';

$listen =~ s/PORT/$port/;
$listen =~ s/TLS/$tls_port/;

my $endpoint = Token::Endpoint->new;
my $nginx = Token::Server->new(
    http => <<"END",
    token_proxy_client_id      my-key;
    token_proxy_client_secret  my-secret;
    log_format  short  '\$request_method \$request_uri \$server_protocol \$status \$connection';
END
    server => <<"END");
        $listen
        ssl_certificate      @{[$cert->file]};
        ssl_certificate_key  @{[$cert->key]};
        access_log  logs/short.log  short;

        location = /token {
            token_proxy           on;
            token_proxy_endpoint  @{[$endpoint->url]};
            gzip                  on;
            gzip_types            application/json;
            gzip_min_length       1;
        }

        location = /status {
            access_log  off;
            stub_status;
        }
END

$nginx->start;

# What curl writes: the head, if it is asked for, and the body.
sub curl {
    my ($path, @options) = @_;
    my $command = join ' ', map { "'$_'" } 'curl', '-s', '-m', 10,
        '--http2-prior-knowledge', @options, "http://127.0.0.1:$port$path";

    return `$command`;
}

my $answer = curl('/token', '-i');

like($answer, qr/^HTTP\/2 200\s/, 'GET: HTTP/2');
like($answer, qr/\r\n\r\n\{"access_token":"AT-1","refresh_token":"RT-1"\}$/, 'GET: the token');

for my $header ('content-type: application/json', 'content-length: 46',
    'cache-control: no-store', 'pragma: no-cache',
    'x-content-type-options: nosniff')
{
    like($answer, qr/^$header\r$/m, "GET: $header");
}

is(scalar(() = $answer =~ /^cache-control:/mg), 1, 'GET: one Cache-Control');

$answer = curl('/token', '-I');
like($answer, qr/^HTTP\/2 200\s.*^content-length: 46\r$/ms, 'HEAD: the headers');
unlike($answer, qr/access_token/, 'HEAD: no body');

# late, since curl 7.88 takes an answer before the end of a body for an error
$endpoint->next({ delay => 0.5 }, { delay => 0.5 });
like(curl('/token', '-d', 'a=b'), qr/^\{"access_token":"AT-3"/, 'POST: the token');
like(curl('/token', '-d', 'x' x 60000), qr/^\{"access_token":"AT-4"/, 'POST with a large body: the token');

like(curl('/token', '-H', 'Accept-Encoding: gzip', '-i'), qr/^content-encoding: gzip\r$/m, 'gzip');
like(curl('/token', '--compressed'), qr/^\{"access_token":"AT-6","refresh_token":"RT-6"\}$/, 'gzip, and the token in it');
like(curl('/token', '-i', '-X', 'DELETE'), qr/^HTTP\/2 405\s.*^allow: GET, HEAD, POST/ms, 'DELETE: 405 with Allow');

$endpoint->next({ status => 401, body => '{"error":"invalid_client"}' });
like(curl('/token', '-i'), qr/^HTTP\/2 502\s.*^content-type: application\/json\r\n.*\{"error":"server_error"/ms, 'an error');

$endpoint->next({ members => { filler => 'x' x 70000 } });
like(curl('/token', '-i'), qr/^HTTP\/2 502\s.*no complete answer/ms, 'an answer that is too large');

# Many at once on one connection.
$endpoint->reset;
$endpoint->answer(delay => 0.3);

my $config = join "\n", map { qq(url = "https://127.0.0.1:$tls_port/token?$_") } 1 .. 20;
my $before = time;

open my $out, '>', $nginx->dir . '/curlrc' or die;
print $out $config;
close $out;

my $many = `curl -sk -m 10 --http2 -Z --parallel-max 20 -K '@{[$nginx->dir]}/curlrc' 2> /dev/null`;
my %tokens = map { $_ => 1 } $many =~ /"access_token":"(AT-\d+)"/g;

is(scalar(keys %tokens), 20, 'streams side by side: a token each');
my (@lines, %connections);
wait_for { 20 == (@lines = slurp($nginx->dir . '/logs/short.log') =~ m{^GET /token\?\d+ HTTP/2.0 200 (\d+)$}mg) };
$connections{$_}++ for @lines;
is_deeply([values %connections], [20], 'streams side by side: all of one connection');
is($endpoint->calls, 20, 'streams side by side: a call each');
cmp_ok(time - $before, '<', 4, 'streams side by side: none waits for another');

# A stream that is reset.
$endpoint->reset;
$endpoint->answer(delay => 5);

`curl -s -m 1.5 --http2-prior-knowledge http://127.0.0.1:$port/token?left`;
is($? >> 8, 28, 'a caller who leaves');
ok((wait_for { slurp($nginx->dir . '/logs/short.log') =~ m{^GET /token\?left HTTP/2.0 499 }m } 5), '499 in the access log');
$endpoint->answer;
like(curl('/token'), qr/access_token/, 'nginx goes on');
like($nginx->get('/status', Connection => 'close')->{content}, qr/^Active connections: 1 /, 'no connection is left');

my @logged = grep { /my-secret|bXkta2V5Om15LXNlY3JldA|AT-\d|RT-\d/ }
    split /\n/, $nginx->error_log;
is("@logged", '', 'no secret in the log');
unlike($nginx->error_log, qr/\[alert\]|\[emerg\]|\[crit\]|exited on signal/, 'nothing alarming in the log');
