package Token::Glewlwyd;

# glewlwyd, an authorization server that Debian has, with a database and a
# configuration of the test's own. It is set up by its API for administrators,
# as its documentation (API.md, OIDC.md) says.
#
#     need_glewlwyd();                    # or the test is skipped
#     my $server = Token::Glewlwyd->new->start->setup(
#         plugins => { oidc => {} },      # name => parameters besides ours
#         clients => { id => { client_secret => 's' } },
#         users   => { name => 'password' },
#     );
#     $server->endpoint('oidc');          # URL of that plugin's token endpoint
#     $server->sql('SELECT ...');         # what sqlite3 prints
#
# Scopes, clients and users are for the scope "api". All else is of
# Token::Daemon.

use strict;
use warnings;

use parent 'Token::Daemon';
use Exporter qw(import);
use HTTP::Tiny;
use JSON::PP;
use Test::Builder;
use Token::Util qw($ROOT free_port spew work_dir);

our @EXPORT_OK = qw(need_glewlwyd);

# Where build.sh has unpacked Debian's package.
my $FILES = ($ENV{TEST_GLEWLWYD} // "$ROOT/build/glewlwyd") . '/usr';
my $TABLES = "$FILES/share/dbconfig-common/data/glewlwyd/install/sqlite3";


sub need_glewlwyd {
    Test::Builder->new->skip_all("no glewlwyd in $FILES: build.sh has not "
        . 'unpacked it') if !-x "$FILES/bin/glewlwyd";
    return;
}


sub new {
    my ($class) = @_;
    my $dir = work_dir();
    my $port = free_port();
    my $modules = "$FILES/lib/glewlwyd";

    mkdir "$dir/none";
    spew("$dir/glewlwyd.conf", <<"END");
port = $port
bind_address = "127.0.0.1"
external_url = "http://127.0.0.1:$port"
api_prefix = "api"
log_mode = "console"
log_level = "DEBUG"
cookie_secure = 0
session_key = "session"
admin_scope = "g_admin"
profile_scope = "g_profile"
user_module_path = "$modules/user"
user_middleware_module_path = "$dir/none"
client_module_path = "$modules/client"
user_auth_scheme_module_path = "$modules/scheme"
plugin_module_path = "$modules/plugin"
hash_algorithm = "SHA512"
database = { type = "sqlite3" path = "$dir/db" };
END

    my $self = $class->SUPER::new(port => $port, log => "$dir/log",
        dir => $dir, command =>
            ["$FILES/bin/glewlwyd", "--config-file=$dir/glewlwyd.conf"]);

    $self->sql(".read $TABLES");
    return $self;
}


sub endpoint { $_[0]->url("/api/$_[1]/token") }


sub sql {
    my ($self, $text) = @_;

    open(my $out, '-|', 'sqlite3', '-cmd', '.timeout 5000', "$self->{dir}/db",
        $text) or die "sqlite3: $!\n";
    my $result = do { local $/; <$out> } // '';

    close $out or die "sqlite3: $text: $result\n";
    chomp $result;
    return $result;
}


sub setup {
    my ($self, %what) = @_;
    my $true = JSON::PP::true;

    # the administrator that the package's tables come with
    my $session = $self->api('auth/',
        { username => 'admin', password => 'password' })
        ->{headers}{'set-cookie'};

    ($self->{cookie}) = $session =~ /^(session=[^;]+)/ or die "no session\n";

    $self->api('scope/', { name => 'api', display_name => 'api',
        password_required => JSON::PP::false });

    for my $name (sort keys %{ $what{plugins} }) {
        $self->api('mod/plugin/', { module => 'oidc', name => $name,
            display_name => $name, parameters => { plugin(),
                iss => $self->url, %{ $what{plugins}{$name} } } });
    }

    for my $id (sort keys %{ $what{clients} }) {
        $self->api('client/', { client_id => $id, name => $id,
            confidential => $true, enabled => $true, scope => ['api'],
            authorization_type =>
                ['client_credentials', 'password', 'refresh_token'],
            token_endpoint_auth_method =>
                ['client_secret_basic', 'client_secret_post'],
            %{ $what{clients}{$id} } });
    }

    for my $name (sort keys %{ $what{users} }) {
        $self->api('user/', { username => $name, name => $name,
            password => $what{users}{$name}, enabled => $true,
            scope => ['api'] });
    }

    return $self;
}


# Parameters of its plugin for OAuth 2.0 and OpenID Connect.
sub plugin {
    my ($true, $false) = (JSON::PP::true, JSON::PP::false);

    return (
        'jwt-type' => 'sha', 'jwt-key-size' => '256',
        key => 'with which the server signs its tokens',
        'access-token-duration' => 3600, 'refresh-token-duration' => 1209600,
        'code-duration' => 600, 'refresh-token-rolling' => $false,
        'refresh-token-one-use' => 'always', 'allow-non-oidc' => $true,
        (map { ("auth-type-$_-enabled" => $true) }
            qw(code token password client refresh)),
        'introspection-revocation-allowed' => $true,
        'introspection-revocation-allow-target-client' => $true,
        'request-parameter-allow' => $true, 'request-maximum-exp' => 3600,
        'client-pubkey-parameter' => 'pubkey',
        'client-jwks-parameter' => 'jwks', scope => [],
    );
}


sub api {
    my ($self, $path, $content) = @_;
    my $response = HTTP::Tiny->new(timeout => 20)->post(
        $self->url("/api/$path"), {
            headers => { 'Content-Type' => 'application/json',
                $self->{cookie} ? (Cookie => $self->{cookie}) : () },
            content => encode_json($content),
        });

    die "glewlwyd, $path: $response->{status} $response->{content}\n"
        if $response->{status} != 200;

    return $response;
}

1;
