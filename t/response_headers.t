# Headers that a script has added to a token's answer, in Perl or JavaScript: no
# NUL follows their names, unlike those of "add_header". They are added by
# t/response_headers/headers.c.

use strict;
use warnings;
use lib 't/lib';

use Test::More;
use Token::Cache;
use Token::Endpoint;
use Token::Server;
use Token::Util qw($MODULE build_module configured work_dir);

plan(skip_all => "no configured nginx beside $MODULE") if !configured();
plan(tests => 16);

my $ORIGIN = 'https://page.example';

my $dir = work_dir();
my $output = build_module('response_headers/headers.c', "$dir/headers.so");

is($output, '', 'the module that adds headers is built');

my $endpoint = Token::Endpoint->new;
my @added = ('response_header Cache-Control public', 'response_header pragma public',
    'response_header EXPIRES 0', 'response_header X-Content-Type-Options sniff',
    'response_header X-Mine mine', 'response_header Prag none',
    'response_header Vary Accept',
    'response_header Access-Control-Allow-Origin https://other.example');

my $nginx = Token::Server->new(main => "load_module $dir/headers.so;",
    http => zone(), server => location('token', $endpoint->url, @added,
        "token_proxy_cors_origin $ORIGIN")
        . "location = /plain { return 204; $added[0]; $added[1]; }\n")->start;

is_deeply(headers('/plain', qw(cache-control pragma)),
    [['public'], ['public']], 'without a token they are there');

for my $what (qw(fetched cached copied)) {
    is_deeply(headers('/token', qw(cache-control pragma expires x-content-type-options)),
        [['no-store'], ['no-cache'], [], ['nosniff']],
        "$what: they cannot make a token cacheable");
    is_deeply(headers('/token', 'access-control-allow-origin'), [[$ORIGIN]],
        '... nor readable for another origin');
    is_deeply(headers('/token', 'vary'), [['Accept, Origin']], '... Vary has both names');
    is_deeply(headers('/token', qw(x-mine prag)), [['mine'], ['none']],
        '... others stay');
}

$endpoint->reset;
$endpoint->answer(status => 500);
$nginx->configure(server => location('error', $endpoint->url, @added))->reload;

is_deeply(headers('/error', qw(cache-control pragma expires)),
    [['no-store'], ['no-cache'], []], 'nor an error');

unlike($nginx->error_log, qr/\[(?:alert|emerg|crit)\]/, 'nothing else is wrong');


# The values of headers, each with all that the response has of the name.
sub headers {
    my ($path, @names) = @_;
    my ($head) = split /\r\n\r\n/, $nginx->raw("GET $path HTTP/1.1\r\n"
        . "Host: localhost\r\nOrigin: $ORIGIN\r\nConnection: close\r\n\r\n");

    return [map { [$head =~ /^\Q$_\E: (.*?)\r?$/mgi] } @names];
}
