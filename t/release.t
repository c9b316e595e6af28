# The version: NGX_HTTP_TOKEN_VERSION is the one place where it is changed. The
# changelogs name the same one, and nginx shows it.

use strict;
use warnings;

use lib 't/lib';
use HTTP::Tiny;
use JSON::PP qw(decode_json);
use Test::More tests => 16;
use Token::Endpoint;
use Token::Server;
use Token::Util qw($ROOT slurp);

my ($version) = slurp("$ROOT/ngx_http_token_module/ngx_http_token.h")
    =~ /^#define NGX_HTTP_TOKEN_VERSION +"(.*)"$/m;
my $changes = slurp("$ROOT/CHANGELOG.md");
my ($debian, $day, $month, $year) = slurp("$ROOT/packaging/debian/changelog")
    =~ /\A\S+ \(([^)+~-]+).*?^ -- .*>  \w+, (\d+) (\w+) (\d+) /ms;
my @releases = $changes =~ /^## \[(\d[^\]]*)\] - (\S+)$/mg;
my @months = qw(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec);
my ($number) = grep { $months[$_ - 1] eq ($month // '') } 1 .. 12;

like($version // '', qr/^\d+\.\d+\.\d+$/, 'the module has a version');
is($releases[0], $version, 'CHANGELOG.md: the last release is that one');
like($releases[1] // '', qr/^\d{4}-\d\d-\d\d$/, '... with its date');
like($changes, qr/^## \[Unreleased\]\n(?!.*^## \[Unreleased\]).*^## \[\Q$version\E\]/ms,
    '... below what is not released yet');
is($debian, $version, 'packaging/debian/changelog: the first entry is that one');
is(sprintf('%04d-%02d-%02d', $year // 0, $number // 0, $day // 0), $releases[1], '... of the same day');
is(`bash -c 'ROOT=$ROOT MODULE=ngx_http_token_module; . $ROOT/scripts/deb.sh; module_version'`,
    "$version\n", './build.sh deb takes it from the module');


# what nginx shows
my $endpoint = Token::Endpoint->new;
my $nginx = Token::Server->new(
    http => 'token_proxy_cache_zone zone=tokens:64k;',
    server => 'location = /status { token_proxy_status; }
        location = /token { token_proxy on; token_proxy_endpoint ' . $endpoint->url . ';
            token_proxy_client_id a; token_proxy_client_secret b; }')->start;

my $status = $nginx->get('/status');
my $json = eval { decode_json($status->{content}) } // {};

is($json->{version}, $version, 'token_proxy_status: version');
ok($json->{zones}, '... beside the zones');
like($nginx->get('/status?format=prometheus')->{content},
    qr/^# TYPE token_proxy_build_info gauge\ntoken_proxy_build_info\{version="\Q$version\E"\} 1$/m,
    '... for Prometheus');

is($nginx->get('/token')->{status}, 200, 'a token');
like(join('', $endpoint->requests), qr{^User-Agent: ngx_http_token_module/\Q$version\E\r$}mi, 'User-Agent of its request');

my $log = slurp($nginx->dir . '/logs/error.log');
like($log, qr/\[info\] \S+ ngx_http_token_module \Q$version\E$/m, 'the error log, at info, when nginx starts');
is(scalar(() = $log =~ /ngx_http_token_module \Q$version\E$/mg), 1, '... once');


# where people look for it
like(slurp("$ROOT/docs/$_"), qr/\Q$version\E|token_proxy_build_info|`info` line/, "docs/$_ says where it is")
    for qw(directives.md troubleshooting.md);
