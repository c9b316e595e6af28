package Token;

# Test::Nginx::Socket for the token module:
#
#     use lib 't/lib';
#     use Token tests => 3;
#
#     run_tests();
#
#     __DATA__
#
#     === TEST 1: the caller gets the subset
#     --- config
#         location = /token {
#             token_proxy           on;
#             token_proxy_endpoint  $TEST_NGINX_ENDPOINT/strict;
#         }
#     --- request
#     GET /token
#     --- response_body chomp
#     {"access_token":"the-access-token","refresh_token":"the-refresh-token"}
#
# The number is that of all checks in the file: one for the status, one for
# each section that says what comes back, and the one below.
#
# Every block gets a token endpoint, a server of the same nginx, and the
# credentials my-key and my-secret at http level, unless it names
# token_proxy_client_id or token_proxy_client_secret itself. After every block,
# nothing that nginx has written (the error log at level debug first of all)
# may hold the secret, its Basic value, or a token.
#
# Sections of its own:
#
# --- endpoint            locations to add to the endpoint's server
# --- no_endpoint         no endpoint, no credentials
# --- no_credentials      no credentials
# --- endpoint_calls: 1   how often the endpoint was called in all
# --- secrets             more that must not be written, one a line
# --- secrets_in_log_ok   no such check
#
# Paths of the endpoint:
#
# /ok        answers whatever the request is
# /strict    refuses whatever is not the request of my-key
# /echo      as /ok, with members that tell what was asked: method uri protocol
#            host connection authorization content_type content_length accept
#            accept_encoding user_agent origin cookie x_custom body
# /slow      as /ok, after a second
# /hang      as /ok, after a minute
# /NNN       status NNN (400 401 403 404 405 413 429 500 501 502 503 504 and
#            201 204 301 302), with {"error":"invalid_client"}

use strict;
use warnings;

use File::Find qw(find);
use MIME::Base64 qw(encode_base64);
use Time::HiRes qw(sleep);
use Token::Util qw(free_port work_dir wait_for slurp slurp_or_empty);

BEGIN {
    $ENV{TEST_NGINX_PORT} = free_port();
    $ENV{TEST_NGINX_ENDPOINT_PORT} = free_port();
    $ENV{TEST_NGINX_ANSWER_PORT} = free_port();
    $ENV{TEST_NGINX_ENDPOINT}
        = "http://127.0.0.1:$ENV{TEST_NGINX_ENDPOINT_PORT}";
    $ENV{TEST_NGINX_SERVROOT} = work_dir();
    $ENV{TEST_NGINX_FAST_SHUTDOWN} //= 1;
}

use Test::Nginx::Socket ();

# Its own $TEST_NGINX_RAND_PORT_... may be those of connections, or of a test that
# runs beside this one.
{
    no warnings 'redefine';
    *Test::Nginx::Util::gen_rand_port = sub (;$$$) { free_port() };
}

my $TOKEN = '"access_token":"the-access-token",'
    . '"refresh_token":"the-refresh-token",'
    . '"expires_in":3600,"token_type":"Bearer","scope":"x"';

my $BASIC = encode_base64('my-key:my-secret', '');

my @SECRETS = ('my-secret', $BASIC, 'the-access-token', 'the-refresh-token');

our $Credentials = <<'END';
    token_proxy_client_id      my-key;
    token_proxy_client_secret  my-secret;
END

# The endpoint's answers come from a second server, since only the headers
# that the first one adds can hold the request's body. Both have logs of their
# own: at level debug nginx logs the Authorization header that it receives.
our $Endpoint = <<"END";
    server {
        listen      127.0.0.1:\$TEST_NGINX_ENDPOINT_PORT;
        error_log   logs/endpoint.log info;
        access_log  logs/endpoint_calls.log;

        location / {
            proxy_pass        http://127.0.0.1:\$TEST_NGINX_ANSWER_PORT;
            proxy_set_header  X-Body        \$request_body;
            proxy_set_header  X-Protocol    \$server_protocol;
            proxy_set_header  X-Host        \$http_host;
            proxy_set_header  X-Connection  \$http_connection;
            proxy_set_header  X-Length      \$http_content_length;
        }

        location = /slow {
            auth_basic            endpoint;
            auth_basic_user_file  /dev/null;
            auth_delay            1s;
            error_page            401 =200 \@token;
        }

        location = /hang {
            auth_basic            endpoint;
            auth_basic_user_file  /dev/null;
            auth_delay            60s;
            error_page            401 =200 \@token;
        }

        location \@token {
            default_type  application/json;
            return        200 '{$TOKEN}';
        }

# endpoint section
    }

    server {
        listen        127.0.0.1:\$TEST_NGINX_ANSWER_PORT;
        error_log     logs/endpoint.log info;
        access_log    off;
        default_type  application/json;

        location = /ok {
            return  200 '{$TOKEN}';
        }

        location = /strict {
            if (\$request_method != POST) {
                return  405 '{"error":"invalid_request"}';
            }

            if (\$http_authorization != 'Basic $BASIC') {
                return  401 '{"error":"invalid_client"}';
            }

            if (\$content_type != application/x-www-form-urlencoded) {
                return  415 '{"error":"invalid_request"}';
            }

            if (\$http_accept != application/json) {
                return  406 '{"error":"invalid_request"}';
            }

            if (\$http_x_body != grant_type=client_credentials) {
                return  400 '{"error":"unsupported_grant_type"}';
            }

            return  200 '{$TOKEN}';
        }

        # names that Test::Nginx cannot mistake for its own
        location = /echo {
            return  200 '{$TOKEN,"method":"\$request_method","uri":"\$request_uri","protocol":"\$http_x_protocol","host":"\$http_x_host","connection":"\$http_x_connection","authorization":"\$http_authorization","content_type":"\$content_type","content_length":"\$http_x_length","accept":"\$http_accept","accept_encoding":"\$http_accept_encoding","user_agent":"\$http_user_agent","origin":"\$http_origin","cookie":"\$http_cookie","x_custom":"\$http_x_custom","body":"\$http_x_body"}';
        }

@{[ map { status($_) } 201, 204, 301, 302, 400, 401, 403 .. 405, 413, 429,
    500 .. 504 ]}
    }
END


sub status {
    my ($code) = @_;
    my $what = $code =~ /^30/ ? '/ok' : q({"error":"invalid_client"});

    return "        location = /$code {\n"
        . "            return  $code '$what';\n        }\n";
}


sub import {
    my (undef, @plan) = @_;

    die "use Token tests => NUMBER;\n" if ($plan[0] // '') ne 'tests';

    Test::Nginx::Socket->import(-package => 'main', @plan);
    Test::Nginx::Socket::no_long_string();
    Test::Nginx::Socket::master_on();
    Test::Nginx::Socket::add_block_preprocessor(\&prepare);
    Test::Nginx::Socket::add_test_cleanup_handler(\&check);
}


sub prepare {
    my ($block) = @_;
    my $http = $block->http_config // '';
    my $all = join "\n", $http, $block->config // '', $block->main_config // '';

    if (!defined $block->no_endpoint) {
        my $more = $block->endpoint // '';

        if (!defined $block->no_credentials
            && $all !~ /\btoken_proxy_client_(?:id|secret)\b/)
        {
            $http = $Credentials . $http;
        }

        $http .= $Endpoint =~ s/^# endpoint section\n/$more/mr;
        $block->set_value(http_config => $http);
    }

    # What nginx says about a wrong configuration is in its error log, where
    # Test::Nginx warns of an [emerg] that the block does not name.
    if (defined $block->must_die) {
        my $log = $block->error_log;

        $block->set_value(suppress_stderr => '');
        $block->set_value(error_log => ref $log
            ? ['[emerg]', ref $log eq 'ARRAY' ? @$log : $log]
            : "[emerg]\n" . ($log // ''));
    }
}


sub check {
    my ($block) = @_;
    my $test = Test::Builder->new;

    if (defined(my $calls = $block->endpoint_calls)) {
        my $log = "$ENV{TEST_NGINX_SERVROOT}/logs/endpoint_calls.log";
        my $count = sub { my $n = () = slurp($log) =~ /\n/g; $n };

        wait_for { $count->() >= $calls };
        $test->is_num($count->(), $calls, $block->name . ' - endpoint calls');
    }

    if (!defined $block->secrets_in_log_ok && !defined $block->SKIP) {
        my @found = find_secrets($block);

        $test->ok(!@found, $block->name . ' - no secret is written')
            or $test->diag(map { "$_\n" } @found);
    }
}


# "secret in file: line" for each secret in what nginx has written, its error
# log first of all.
sub find_secrets {
    my ($block) = @_;
    my $root = $ENV{TEST_NGINX_SERVROOT};
    my $written = join '|', ($block->user_files // '') =~ /^>>> (\S+)/mg;
    my @secrets = (@SECRETS, split /\n/, $block->secrets // '');
    my @found;
    my %read;

    find({ no_chdir => 1, wanted => sub {
        return if !-f || m{^\Q$root\E/conf/} || m{/html/(?:$written)$};

        my $text = slurp_or_empty($_);    # a temporary file may be gone

        $read{$_} = length $text;

        for my $line (split /\n/, $text) {
            for my $secret (grep { length && $line =~ /\Q$_\E/ } @secrets) {
                push @found, "$secret in $_: $line" if @found < 5;
            }
        }
    }}, $root);

    push @found, 'nginx has written no error log'
        if !$read{"$root/logs/error.log"};

    return @found;
}

1;
