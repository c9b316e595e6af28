package Token::Bearer;

# What the tests of token_proxy_bearer share: a token endpoint, an API that
# says "data 1", "data 2", another server that says "other", and an nginx for
# each part of a file, with the locations of that part.
#
#     part(<<"END");
#         location /api/ {
#             token_proxy_bearer  /token;
#             proxy_pass          $api_url/;
#         }
#     END
#
#     $nginx->get('/api/x');
#     authorization(last_request($api));    # Bearer AT-1
#
#     finish();
#
# /token is there, internal and cached, and a refused token may be replaced at
# once; /stub is stub_status. All counts begin at 0. The part before, or the
# last one with finish(), has three checks: no token in the error log, none in
# the access log, no alert.

use strict;
use warnings;

use Exporter qw(import);
use Test::More ();
use Token::Cache;
use Token::Endpoint;
use Token::Server;

our @EXPORT = qw($endpoint $api $other $api_url $other_url $nginx part finish
    last_request header authorization stub);

our $endpoint = Token::Endpoint->new;
our $api = Token::Endpoint->new(body => 'data %d');
our $other = Token::Endpoint->new(body => 'other');
our $api_url = 'http://127.0.0.1:' . $api->port;
our $other_url = 'http://127.0.0.1:' . $other->port;
our $nginx;


sub part {
    my ($server, $http) = @_;

    finish();
    $_->reset for $endpoint, $api, $other;

    $nginx = Token::Server->new(
        http => zone() . <<'END' . ($http // ''),
    log_format  secret  '$status $request_uri [$http_authorization] [$http_x_token]';
    proxy_cache_path  @DIR@/cache keys_zone=cache:1m;
    client_body_buffer_size  8k;
END
        server => location('token', $endpoint->url, 'internal',
            'token_proxy_retry_backoff 1ms 1s') . <<'END' . $server)->start;
        access_log          @DIR@/logs/access.log secret;
        proxy_http_version  1.1;
        proxy_set_header    Connection "";

        location = /stub { stub_status; access_log off; }
END

    return;
}


sub finish {
    return if !$nginx;

    $nginx->stop('QUIT');
    no_secrets($nginx, qr/Bearer A/);
    Test::More::unlike($nginx->access_log, qr/[AR]T-\d/,
        'no token in the access log');
    Test::More::is_deeply([grep { !/exiting|signal/ }
        $nginx->error_log =~ /^.*\[(?:alert|emerg|crit)\].*$/mg], [],
        'no alert in the error log');
    undef $nginx;

    return;
}


sub last_request { return ($_[0]->requests)[-1] }


sub header {
    my ($request, $name) = @_;
    my @values = $request =~ /^\Q$name\E: (.*?)\r$/mig;

    return @values > 1 ? "@values" : $values[0];
}


sub authorization { return header($_[0], 'Authorization') }


# Connections of clients, this one among them.
sub stub {
    return $nginx->get('/stub')->{content} =~ /Active connections: (\d+)/
        ? $1 : -1;
}

1;
