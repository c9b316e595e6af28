package Token::Providers;

# What known providers want of a token request, as their documents say it, and
# how they refuse what they do not want. docs/providers.md names the documents.
#
#     my %providers = providers($dir);     # for Token::StandIn
#
# $dir has the public keys of those who sign: NAME.pub, and entra.crt; seconds in
# a file "clock" are what the providers' clocks are ahead. The client is $ID with
# $SECRET. $SECRET has characters that tell raw from form-encoded.

use strict;
use warnings;

use Digest::SHA qw(sha256);
use Exporter qw(import);
use JSON::PP qw(decode_json);
use MIME::Base64 qw(decode_base64 decode_base64url encode_base64url);
use Token::Util qw(slurp_or_empty spew);

our @EXPORT = qw($ID $SECRET providers now);

our $ID = 'my-key';
our $SECRET = 'my-secret+/=%41~';

my $BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
my $ASSERTION = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

my $dir;
my $tokens = 0;
my %seen;
my %federated;


sub providers {
    ($dir) = @_;

    return (
        'example.us.auth0.com' => { answer => \&auth0, limit => \&auth0_limit },
        'example.okta.com' => { answer => \&okta, limit => \&okta_limit },
        'login.microsoftonline.com' => { answer => \&entra },
        'sso.example.com' => { answer => \&keycloak },
        'example.auth.eu-central-1.amazoncognito.com' => { answer => \&cognito },
        'oauth2.googleapis.com' => { answer => \&google },
        'sts.googleapis.com' => { answer => \&google_sts },
        'iamcredentials.googleapis.com' => { answer => \&google_iam },
        'example.my.salesforce.com' => { answer => \&salesforce },
        'login.salesforce.com' => { answer => \&salesforce },
        'zoom.us' => { answer => \&zoom },
        'accounts.spotify.com' => { answer => \&spotify,
            limit => \&spotify_limit },
        'api-m.paypal.com' => { answer => \&paypal, limit => \&paypal_limit },
        'oauth.twilio.com' => { answer => \&twilio, limit => \&twilio_limit },
        'metadata.google.internal' => { plain => 1, answer => \&compute },
        '169.254.169.254' => { plain => 1, answer => \&azure,
            limit => \&azure_limit },
    );
}


# Auth0

sub auth0 {
    my ($request) = @_;

    path($request, '/oauth/token');

    my %form = form($request, \&oauth,
        qw(grant_type client_id client_secret audience organization));

    oauth(401, 'access_denied', 'Unauthorized')
        if $request->{headers}{authorization} || !is_client(\%form);

    oauth(403, 'unauthorized_client', "Grant type '$form{grant_type}' not "
        . 'allowed for the client.') if $form{grant_type} ne 'client_credentials';

    oauth(403, 'access_denied', 'No audience parameter was provided, and no '
        . 'default audience has been configured') if !$form{audience};

    oauth(403, 'access_denied', 'Service not enabled within domain')
        if $form{audience} ne 'https://api.example.com';

    return token(expires_in => 86400, token_type => 'Bearer',
        scope => 'read:orders');
}


sub auth0_limit {
    return [429, { error => 'too_many_requests',
        error_description => 'Global limit has been reached' },
        'X-RateLimit-Limit' => 10, 'X-RateLimit-Remaining' => 0,
        'X-RateLimit-Reset' => time + 1];
}


# Okta: an authorization server of one's own, and that of the organization

sub okta {
    my ($request) = @_;
    my $org = $request->{path} eq '/oauth2/v1/token';

    path($request, '/oauth2/default/v1/token') if !$org;

    my %form = form($request, \&oauth, qw(grant_type scope),
        $org ? qw(client_id client_assertion client_assertion_type) : ());

    if ($org) {
        okta_assertion(\%form);

    } else {
        my @client = basic($request)
            or oauth(401, 'invalid_client', 'No client credentials found.');

        oauth(401, 'invalid_client', 'The client secret supplied for a '
            . 'confidential client is invalid.') if "@client" ne "$ID $SECRET";
    }

    oauth(400, 'unsupported_grant_type', 'The grant type is not supported.')
        if $form{grant_type} ne 'client_credentials';
    oauth(400, 'invalid_scope', 'The authorization server resource does not '
        . "have any configured default scopes, 'scope' must be provided.")
        if !$form{scope};
    oauth(400, 'invalid_scope', "Cannot request 'openid' scopes using client "
        . 'credentials.') if $form{scope} =~ /\bopenid\b/;
    oauth(400, 'invalid_scope', 'Custom scopes are not allowed for this request.')
        if $org && $form{scope} ne 'okta.users.read';
    oauth(400, 'invalid_scope', 'One or more scopes are not configured for the '
        . 'authorization server resource.') if !$org && $form{scope} ne 'orders';

    return token(expires_in => 3600, token_type => 'Bearer',
        scope => $form{scope});
}


sub okta_assertion {
    my ($form) = @_;
    my ($header, $claims) = assertion($form, 'okta', 'RS256')
        or oauth(401, 'invalid_client', 'The client_assertion signature is '
            . 'invalid.');

    oauth(401, 'invalid_client', 'The audience claim for client_assertion must '
        . 'be the endpoint invoked for the request.')
        if $claims->{aud} ne 'https://example.okta.com/oauth2/v1/token';
    oauth(401, 'invalid_client', 'The client_assertion is expired, used before, '
        . 'or good for more than an hour.') if !is_fresh($claims, 3600)
        || $seen{ $claims->{jti} // '' }++;
    oauth(401, 'invalid_client', 'The issuer and subject must be the client.')
        if "$claims->{iss} $claims->{sub}" ne "$ID $ID";
    return;
}


sub okta_limit {
    return [429, { errorCode => 'E0000047', errorSummary => 'API call exceeded '
        . 'rate limit due to too many requests.', errorLink => 'E0000047',
        errorId => 'oae-1', errorCauses => [] },
        'X-Rate-Limit-Limit' => 600, 'X-Rate-Limit-Remaining' => 0,
        'X-Rate-Limit-Reset' => time + 60];
}


# Entra ID

sub entra {
    my ($request) = @_;
    my $tenant = '11111111-2222-3333-4444-555555555555';

    path($request, "/$tenant/oauth2/v2.0/token");

    my %form = form($request, \&entra_error, qw(grant_type scope client_id
        client_secret client_assertion client_assertion_type));

    for my $name (qw(grant_type scope)) {
        entra_error(400, 'invalid_request', 'AADSTS900144: The request body must '
            . "contain the following parameter: '$name'.") if !$form{$name};
    }

    if ($form{client_assertion}) {
        entra_assertion(\%form, $tenant);

    } else {
        my @client = form_basic($request);

        entra_error(401, 'invalid_client', 'AADSTS7000215: Invalid client secret '
            . 'provided.') if "@client" ne "$ID $SECRET" && !is_client(\%form);
    }

    entra_error(400, 'unsupported_grant_type', 'AADSTS70003: The app requested '
        . 'an unsupported grant type.') if $form{grant_type} ne 'client_credentials';
    entra_error(400, 'invalid_scope', 'AADSTS1002012: The provided value for scope '
        . 'is not valid. Client credential flows must have a scope value with '
        . '/.default suffixed to the resource identifier.')
        if $form{scope} !~ m{^\S+/\.default$};

    return token(expires_in => 3599, ext_expires_in => 3599,
        token_type => 'Bearer');
}


sub entra_assertion {
    my ($form, $tenant) = @_;
    my ($header, $claims) = assertion($form, 'entra', 'PS256')
        or entra_error(401, 'invalid_client', 'AADSTS7000223: Invalid client '
            . 'assertion.');
    my $crt = `openssl x509 -in '$dir/entra.crt' -outform DER`;

    entra_error(401, 'invalid_client', 'AADSTS700027: The certificate with '
        . 'identifier used to sign the client assertion is not registered on '
        . 'application.')
        if ($header->{'x5t#S256'} // '') ne encode_base64url(sha256($crt));
    entra_error(401, 'invalid_client', 'AADSTS700023: Client assertion audience '
        . 'claim does not match Realm issuer.') if $claims->{aud}
        ne "https://login.microsoftonline.com/$tenant/oauth2/v2.0/token";
    entra_error(401, 'invalid_client', 'AADSTS700024: Client assertion is not '
        . 'within its valid time range.')
        if !is_fresh($claims, 600) || $seen{ $claims->{jti} // '' }++;
    entra_error(401, 'invalid_client', 'AADSTS700021: Client assertion '
        . 'application identifier does not match.')
        if "$claims->{iss} $claims->{sub}" ne "$ID $ID";
    return;
}


sub entra_error {
    my ($status, $error, $description) = @_;
    my ($code) = $description =~ /^AADSTS(\d+)/;

    die [$status, { error => $error, error_description => "$description Trace "
        . "ID: 1 Correlation ID: 2 Timestamp: 2026-01-01 00:00:00Z",
        error_codes => [$code ? $code + 0 : ()],
        timestamp => '2026-01-01 00:00:00Z', trace_id => '1',
        correlation_id => '2' }];
}


# Keycloak

sub keycloak {
    my ($request) = @_;

    path($request, '/realms/example/protocol/openid-connect/token');

    my %form = form($request, \&oauth, qw(grant_type scope));
    my @client = form_basic($request);

    oauth(401, 'unauthorized_client', 'Invalid client or Invalid client '
        . 'credentials') if "@client" ne "$ID $SECRET";
    oauth(400, 'unsupported_grant_type', 'Unsupported grant_type')
        if $form{grant_type} ne 'client_credentials';
    oauth(400, 'invalid_scope', 'Invalid scopes: ' . $form{scope})
        if ($form{scope} // 'orders') ne 'orders';

    return token(expires_in => 300, refresh_expires_in => 0,
        token_type => 'Bearer', 'not-before-policy' => 0, scope => 'orders');
}


# Amazon Cognito: errors without a description

sub cognito {
    my ($request) = @_;

    path($request, '/oauth2/token');

    my %form = form($request, sub { die [$_[0], { error => $_[1] }] },
        qw(grant_type scope aws_client_metadata));
    my @client = basic($request);

    die [400, { error => 'invalid_client' }] if "@client" ne "$ID $SECRET";
    die [400, { error => 'unsupported_grant_type' }]
        if $form{grant_type} ne 'client_credentials';

    return token(expires_in => 3600, token_type => 'Bearer');
}


# Google: a service account

sub google {
    my ($request) = @_;

    path($request, '/token');

    my %form = form($request, \&oauth, qw(grant_type assertion));

    oauth(400, 'unsupported_grant_type', "Invalid grant_type: $form{grant_type}")
        if $form{grant_type} ne $BEARER;
    oauth(400, 'invalid_request', 'Client credentials are not expected.')
        if $request->{headers}{authorization};

    my ($header, $claims) = jwt($form{assertion}, 'google', 'RS256')
        or oauth(400, 'invalid_grant', 'Invalid JWT Signature.');

    oauth(400, 'invalid_grant', 'Invalid JWT: Failed audience check.')
        if $claims->{aud} ne 'https://oauth2.googleapis.com/token';
    oauth(400, 'invalid_grant', 'Invalid JWT: Token must be a short-lived token '
        . '(60 minutes) and in a reasonable timeframe. Check your iat and exp '
        . 'values in the JWT claim.')
        if !is_fresh($claims, 3600) || !$claims->{iat} || $claims->{iat} > now();
    oauth(400, 'invalid_grant', 'Invalid grant: account not found')
        if $claims->{iss} ne 'tokens@example.iam.gserviceaccount.com';
    oauth(400, 'invalid_scope', 'Invalid OAuth scope or ID token audience '
        . 'provided.') if !$claims->{scope};
    oauth(401, 'unauthorized_client', 'Client is unauthorized to retrieve access '
        . 'tokens using this method, or client not authorized for any of the '
        . 'scopes requested.') if $claims->{sub} ne '';

    return token(expires_in => 3599, token_type => 'Bearer');
}


# Google: workload identity federation, first the exchange

sub google_sts {
    my ($request) = @_;
    my $provider = 'iam.googleapis.com/projects/123456789/locations/global/'
        . 'workloadIdentityPools/my-pool/providers/my-provider';

    path($request, '/v1/token');

    my %form = form($request, \&oauth, qw(grant_type audience scope requested_token_type
        subject_token_type subject_token options));

    oauth(400, 'invalid_request', 'Invalid value for "grant_type".')
        if $form{grant_type} ne 'urn:ietf:params:oauth:grant-type:token-exchange';
    oauth(400, 'invalid_request', 'The Authorization header is not expected.')
        if $request->{headers}{authorization};

    for (qw(audience scope requested_token_type subject_token_type subject_token)) {
        oauth(400, 'invalid_request', "Missing required field: $_.") if !length($form{$_} // '');
    }

    oauth(400, 'invalid_request', 'Invalid value for "requested_token_type".')
        if $form{requested_token_type} ne 'urn:ietf:params:oauth:token-type:access_token';
    oauth(400, 'invalid_target', 'The target service indicated by the "audience" '
        . 'parameters is invalid. This might either be because the pool or provider is '
        . "disabled or deleted or because it doesn't exist.")
        if $form{audience} ne "//$provider";
    oauth(400, 'invalid_request', 'Invalid value for "subject_token_type".')
        if $form{subject_token_type} !~ /^urn:ietf:params:oauth:token-type:(?:jwt|id_token)$/;

    my ($header, $claims) = jwt($form{subject_token}, 'pool', 'RS256')
        or oauth(400, 'invalid_grant', 'Error connecting to the given credential\'s issuer.');

    oauth(400, 'invalid_grant', 'The audience in ID Token does not match the expected '
        . 'audience.') if $claims->{aud} ne "https://$provider";
    oauth(400, 'invalid_grant', 'ID Token is stale to sign-in.') if !is_fresh($claims, 86400);

    my $answer = token(expires_in => 3599, token_type => 'Bearer',
        issued_token_type => $form{requested_token_type});

    $federated{ $answer->[1]{access_token} } = 1;
    return $answer;
}


# ... and then the impersonation, whose answer has names of its own

sub google_iam {
    my ($request) = @_;
    my $error = sub {
        die [$_[0], { error => { code => $_[0], status => $_[1], message => $_[2] } }];
    };
    my ($token) = ($request->{headers}{authorization} // '') =~ /^Bearer (\S+)$/;

    $error->(401, 'UNAUTHENTICATED', 'Request is missing required authentication '
        . 'credential.') if !$federated{ $token // '' };
    $error->(404, 'NOT_FOUND', 'Requested entity was not found.')
        if $request->{method} ne 'POST' || length($request->{query} // '')
        || $request->{path} !~ m{^/v1/projects/-/serviceAccounts/([^/]+):generateAccessToken$};
    $error->(403, 'PERMISSION_DENIED', "Permission 'iam.serviceAccounts.getAccessToken' denied "
        . 'on resource (or it may not exist).') if $1 ne 'robot@example.iam.gserviceaccount.com';

    my $body = ($request->{headers}{'content-type'} // '') eq 'application/json'
        && eval { decode_json($request->{body}) } || {};

    for (sort keys %$body) {
        $error->(400, 'INVALID_ARGUMENT', "Invalid JSON payload received. Unknown name \"$_\".")
            if !/^(?:scope|lifetime|delegates)$/;
    }

    $error->(400, 'INVALID_ARGUMENT', 'scope is required.')
        if ref $body->{scope} ne 'ARRAY' || !@{ $body->{scope} }
        || grep { !m{^https://www\.googleapis\.com/auth/} } @{ $body->{scope} };
    $error->(400, 'INVALID_ARGUMENT', 'The access token lifetime cannot exceed 3600s.')
        if ($body->{lifetime} // '3600s') !~ /^(\d+)s$/ || $1 > 3600;

    my $answer = token();
    my @time = gmtime time + 3600;

    return [200, { accessToken => $answer->[1]{access_token}, expireTime =>
        sprintf '%04d-%02d-%02dT%02d:%02d:%02dZ', $time[5] + 1900, $time[4] + 1, @time[3, 2, 1, 0] }];
}


# Salesforce: no lifetime in the answer, and times in milliseconds

sub salesforce {
    my ($request) = @_;
    my $own = $request->{headers}{host} =~ /\.my\.salesforce\.com$/;

    path($request, '/services/oauth2/token');

    my %form = form($request, \&oauth,
        qw(grant_type client_id client_secret assertion));

    if ($form{grant_type} eq $BEARER) {
        salesforce_assertion(\%form);

    } elsif ($form{grant_type} ne 'client_credentials') {
        oauth(400, 'unsupported_grant_type', 'grant type not supported');

    } elsif (!$own) {
        oauth(400, 'invalid_grant', 'request not supported on this domain');

    } else {
        my @client = basic($request);

        @client = @form{qw(client_id client_secret)} if !@client;
        oauth(400, 'invalid_client_id', 'client identifier invalid')
            if ($client[0] // '') ne $ID;
        oauth(400, 'invalid_client', 'invalid client credentials')
            if ($client[1] // '') ne $SECRET;
    }

    return token(signature => 'c2lnbmVk', token_type => 'Bearer',
        instance_url => 'https://example.my.salesforce.com', scope => 'api',
        id => 'https://login.salesforce.com/id/00D/005',
        issued_at => time . '000');
}


sub salesforce_assertion {
    my ($form) = @_;
    my ($header, $claims) = jwt($form->{assertion}, 'salesforce', 'RS256')
        or oauth(400, 'invalid_grant', 'invalid assertion');

    oauth(400, 'invalid_request', 'client credentials are not expected')
        if defined $form->{client_secret};
    oauth(400, 'invalid_client_id', 'client identifier invalid')
        if $claims->{iss} ne $ID;
    oauth(400, 'invalid_grant', 'audience is invalid')
        if $claims->{aud} ne 'https://login.salesforce.com';
    oauth(400, 'invalid_grant', 'expired authorization code')
        if !is_fresh($claims, 180);
    oauth(400, 'invalid_grant', "user hasn't approved this consumer")
        if $claims->{sub} ne 'integration@example.com';
    return;
}


# Zoom: a grant of its own, and "reason" in place of "error_description"

sub zoom {
    my ($request) = @_;
    my $error = sub {
        die [400, { error => $_[1], reason => $_[2] // 'Bad Request' }];
    };

    path($request, '/oauth/token');

    my %form = form($request, $error, qw(grant_type account_id));
    my @client = basic($request);

    $error->(400, 'invalid_client', 'Invalid client_id or client_secret')
        if "@client" ne "$ID $SECRET";
    $error->(400, 'unsupported_grant_type', 'unsupported grant type')
        if $form{grant_type} ne 'account_credentials';
    $error->(400, 'invalid_request')
        if ($form{account_id} // '') ne 'AbCdEfGhIjKlMnOpQrStUv';

    return token(expires_in => 3599, token_type => 'bearer',
        scope => 'user:read:admin', api_url => 'https://api.zoom.us');
}


# Spotify

sub spotify {
    my ($request) = @_;

    path($request, '/api/token');

    my %form = form($request, \&oauth, qw(grant_type));
    my @client = basic($request);

    oauth(400, 'invalid_client', 'Invalid client')
        if !@client || $client[0] ne $ID;
    oauth(400, 'invalid_client', 'Invalid client secret')
        if $client[1] ne $SECRET;
    oauth(400, 'unsupported_grant_type', 'grant_type must be client_credentials, '
        . 'authorization_code or refresh_token')
        if $form{grant_type} ne 'client_credentials';

    return token(expires_in => 3600, token_type => 'Bearer');
}


sub spotify_limit {
    return [429, "Too many requests\n", 'Retry-After' => 7];
}


# PayPal

sub paypal {
    my ($request) = @_;

    path($request, '/v1/oauth2/token');

    my %form = form($request, \&oauth, qw(grant_type));
    my @client = basic($request);

    oauth(401, 'invalid_client', 'Client Authentication failed')
        if "@client" ne "$ID $SECRET";
    oauth(400, 'unsupported_grant_type', 'Grant Type is NULL or not supported')
        if $form{grant_type} ne 'client_credentials';

    return token(expires_in => 32400, token_type => 'Bearer',
        app_id => 'APP-80W284485P519543T', nonce => '2026-01-01T00:00:00Zn',
        scope => 'https://uri.paypal.com/services/invoicing');
}


sub paypal_limit {
    return [429, { name => 'RATE_LIMIT_REACHED', message => 'Too many requests. '
        . 'Blocked due to rate limiting.', debug_id => 'f0' }];
}


# Twilio: id and secret in the body alone

sub twilio {
    my ($request) = @_;

    path($request, '/v2/token');

    my %form = form($request, sub { twilio_error($_[0], 20001, $_[2]) },
        qw(grant_type client_id client_secret));

    twilio_error(401, 20003, 'Authenticate')
        if $request->{headers}{authorization} || !is_client(\%form);
    twilio_error(400, 20001, 'Invalid grant_type')
        if $form{grant_type} ne 'client_credentials';

    return token(expires_in => 3600, token_type => 'Bearer', id_token => undef,
        refresh_token => undef);
}


sub twilio_limit { eval { twilio_error(429, 322401, 'Too Many Requests') }; $@ }


sub twilio_error {
    my ($status, $code, $message) = @_;

    die [$status, { code => $code, message => $message, status => $status,
        more_info => "https://www.twilio.com/docs/errors/$code" }];
}


# The metadata server of Google Compute Engine

sub compute {
    my ($request) = @_;
    my $headers = $request->{headers};
    my %query = query($request);
    my $page = sub {
        die [$_[0], "<!DOCTYPE html><title>Error $_[0]</title><p>$_[1]\n",
            'Content-Type' => 'text/html', 'Metadata-Flavor' => 'Google'];
    };

    $page->(403, 'Missing Metadata-Flavor:Google header.')
        if ($headers->{'metadata-flavor'} // '') ne 'Google';
    $page->(403, 'X-Forwarded-For is not allowed.') if $headers->{'x-forwarded-for'};
    $page->(404, 'Not found.') if $request->{path}
        ne '/computeMetadata/v1/instance/service-accounts/default/token';
    $page->(405, 'The method is not allowed.')
        if $request->{method} ne 'GET' || length $request->{body};
    $page->(400, 'Unknown query.') if $headers->{authorization}
        || grep { $_ ne 'scopes' } keys %query;

    my $token = token(expires_in => 3487, token_type => 'Bearer');

    return [@$token, 'Metadata-Flavor' => 'Google'];
}


# Azure's instance metadata service: numbers are strings

sub azure {
    my ($request) = @_;
    my $headers = $request->{headers};
    my %query = query($request);

    oauth(400, 'bad_request_102', 'Required metadata header not specified')
        if ($headers->{metadata} // '') ne 'true';
    oauth(400, 'bad_request', 'X-Forwarded-For is not allowed')
        if $headers->{'x-forwarded-for'};
    oauth(404, 'not_found', 'no such endpoint')
        if $request->{path} ne '/metadata/identity/oauth2/token';
    oauth(405, 'method_not_allowed', 'GET')
        if $request->{method} ne 'GET' || length $request->{body};
    die [400, { error => 'Bad request. api-version is invalid or was not '
        . 'specified in the request.', 'newest-versions' => ['2025-04-07'] }]
        if ($query{'api-version'} // '') lt '2018-02-01';
    oauth(400, 'invalid_request', 'The request is missing a required parameter, '
        . 'includes an invalid parameter value, or is otherwise malformed')
        if $headers->{authorization} || !($query{resource} // '')
        || grep { !/^(?:api-version|resource|client_id|object_id|msi_res_id)$/ }
            keys %query;
    oauth(400, 'invalid_resource', 'AADSTS50001: The application was not found '
        . 'in the tenant.') if $query{resource} ne 'https://management.azure.com/';

    return token(expires_in => '3599', expires_on => time + 3599 . '',
        not_before => time . '', resource => $query{resource},
        token_type => 'Bearer', refresh_token => '');
}


sub azure_limit {
    return [429, { error => 'too_many_requests', error_description =>
        'The throttling threshold is exceeded' }];
}


# What they share

# An error in the form of RFC 6749 section 5.2.
sub oauth {
    my ($status, $error, $description) = @_;

    die [$status, { error => $error, error_description => $description }];
}


sub path {
    my ($request, $path) = @_;

    die [404, "no endpoint at $request->{path}\n"] if $request->{path} ne $path;
    return;
}


# The form of a POST, which has only the parameters that are documented, each
# once. Refused in the provider's form otherwise.
sub form {
    my ($request, $error, @known) = @_;
    my %known = map { $_ => 1 } @known;

    $error->(405, 'invalid_request', 'POST is the method')
        if $request->{method} ne 'POST';
    $error->(415, 'invalid_request', 'the type of the body is not a form')
        if ($request->{headers}{'content-type'} // '')
        ne 'application/x-www-form-urlencoded';
    $error->(400, 'invalid_request', 'parameters stand in the body')
        if length($request->{query} // '');

    my %form = pairs($request->{body})
        or $error->(400, 'invalid_request', 'a parameter stands twice');

    for my $name (sort keys %form) {
        $error->(400, 'invalid_request', "no parameter $name is documented")
            if !$known{$name};
    }

    $form{grant_type} //= '';
    return %form;
}


sub query {
    my ($request) = @_;

    return pairs($request->{query} // '');
}


sub pairs {
    my %pairs;

    for (split /&/, $_[0]) {
        my ($name, $value) = map { decoded($_) } split /=/, $_, 2;

        return if exists $pairs{$name};
        $pairs{$name} = $value // '';
    }

    return %pairs;
}


sub decoded { $_[0] =~ tr/+/ /r =~ s/%([0-9a-fA-F]{2})/chr hex $1/ger }


# Id and secret of the header as they stand there.
sub basic {
    my ($request) = @_;
    my ($value) = ($request->{headers}{authorization} // '')
        =~ m{^Basic ([\w+/=]+)$} or return;

    return split /:/, decode_base64($value), 2;
}


# ... as RFC 6749 section 2.3.1 has them.
sub form_basic { map { decoded($_) } basic(@_) }


sub is_client {
    my ($form) = @_;

    return ($form->{client_id} // '') eq $ID
        && ($form->{client_secret} // '') eq $SECRET;
}


# Header and claims of an assertion that authenticates the client.
sub assertion {
    my ($form, $key, $alg) = @_;

    return if ($form->{client_assertion_type} // '') ne $ASSERTION
        || ($form->{client_id} // $ID) ne $ID;
    return jwt($form->{client_assertion}, $key, $alg);
}


# Header and claims of a JWT that this key has signed.
sub jwt {
    my ($jwt, $key, $alg) = @_;
    my ($signed, $header, $claims, $signature)
        = ($jwt // '') =~ /^(([\w-]+)\.([\w-]+))\.([\w-]+)$/ or return;
    my @parts = eval { map { decode_json(decode_base64url($_)) } $header, $claims }
        or return;

    return if ($parts[0]{alg} // '') ne $alg || ($parts[0]{typ} // '') ne 'JWT';

    spew("$dir/signed", $signed);
    spew("$dir/signature", decode_base64url($signature));

    my $pss = $alg =~ /^PS/ ? '-sigopt rsa_padding_mode:pss '
        . '-sigopt rsa_pss_saltlen:32' : '';

    `openssl dgst -sha256 -verify '$dir/$key.pub' $pss -signature '$dir/signature' '$dir/signed' 2>&1`;
    return if $?;

    $_ //= '' for @{ $parts[1] }{qw(iss sub aud)};
    return @parts;
}


# Whether a JWT is good now, and not for longer than it may be.
sub is_fresh {
    my ($claims, $seconds) = @_;
    my $exp = $claims->{exp} // 0;

    return $exp > now() && $exp <= now() + $seconds + 5
        && ($claims->{iat} // 0) <= now() + 5;
}


# The time there, which "clock" may set some seconds ahead.
sub now { time + (slurp_or_empty("$dir/clock") || 0) }


sub token {
    my (%members) = @_;

    $tokens++;
    return [200, { access_token => "AT-$tokens", %members }];
}

1;
