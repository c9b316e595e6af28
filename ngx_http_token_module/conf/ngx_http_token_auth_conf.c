
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The directives of client authentication, RFC 6749 2.3, RFC 7523, RFC 8705.
 */


#include "ngx_http_token_conf.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>


static char *ngx_http_token_auth_parameter(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf, ngx_str_t *directive, ngx_str_t *value);
static char *ngx_http_token_load_key(ngx_conf_t *cf,
    ngx_http_token_key_t *key);
static void ngx_http_token_free_key(void *data);
static char *ngx_http_token_load_certificate(ngx_conf_t *cf,
    ngx_http_token_cert_t *certificate);
static ngx_int_t ngx_http_token_thumbprint(ngx_conf_t *cf, X509 *x509,
    const EVP_MD *md, ngx_str_t *text);
static void ngx_http_token_free_certificate(void *data);
static char *ngx_http_token_choose_alg(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);
static ngx_http_token_alg_t *ngx_http_token_check_key(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf, char *directive);
static char *ngx_http_token_check_certificate(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);
static char *ngx_http_token_auth_init_identity(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);


static ngx_conf_enum_t  ngx_http_token_auth_methods[] = {
    { ngx_string("client_secret_basic"), NGX_HTTP_TOKEN_CLIENT_SECRET_BASIC },
    { ngx_string("client_secret_post"), NGX_HTTP_TOKEN_CLIENT_SECRET_POST },
    { ngx_string("client_secret_jwt"), NGX_HTTP_TOKEN_CLIENT_SECRET_JWT },
    { ngx_string("private_key_jwt"), NGX_HTTP_TOKEN_PRIVATE_KEY_JWT },
    { ngx_string("client_assertion"), NGX_HTTP_TOKEN_CLIENT_ASSERTION },
    { ngx_string("none"), NGX_HTTP_TOKEN_AUTH_NONE },
    { ngx_null_string, 0 }
};


char *
ngx_http_token_set_auth_method(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    ngx_str_t        *value;
    ngx_conf_enum_t  *method;

    if (tlcf->auth.method != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    method = ngx_http_token_find_method(cf, ngx_http_token_auth_methods,
                                        &value[1]);
    if (method == NULL) {
        return NGX_CONF_ERROR;
    }

    tlcf->auth.method = method->value;

    if (cf->args->nelts == 2) {
        return NGX_CONF_OK;
    }

    return ngx_http_token_auth_parameter(cf, tlcf, &cmd->name, &value[2]);
}


static char *
ngx_http_token_auth_parameter(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf,
    ngx_str_t *directive, ngx_str_t *value)
{
    ngx_uint_t  basic, jwt;

    basic = (tlcf->auth.method == NGX_HTTP_TOKEN_CLIENT_SECRET_BASIC);

    jwt = (tlcf->auth.method == NGX_HTTP_TOKEN_CLIENT_SECRET_JWT
           || tlcf->auth.method == NGX_HTTP_TOKEN_PRIVATE_KEY_JWT);

    if (ngx_strncmp(value->data, "encoding=", 9) == 0 && !basic) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" has an encoding with "
                           "\"client_secret_basic\" only", directive);
        return NGX_CONF_ERROR;
    }

    if (ngx_strncmp(value->data, "alg=", 4) == 0) {

        if (!jwt) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"%V\" has an algorithm with "
                               "\"client_secret_jwt\" and "
                               "\"private_key_jwt\" only", directive);
            return NGX_CONF_ERROR;
        }

        tlcf->auth.alg_name.data = value->data + 4;
        tlcf->auth.alg_name.len = value->len - 4;

        if (tlcf->auth.alg_name.len
            && ngx_http_token_find_alg(tlcf->auth.method, &tlcf->auth.alg_name,
                                       NULL))
        {
            return NGX_CONF_OK;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "unknown algorithm \"%V\" of this method in \"%V\"",
                           &tlcf->auth.alg_name, directive);
        return NGX_CONF_ERROR;
    }

    if (basic && ngx_strcmp(value->data, "encoding=form") == 0) {
        tlcf->auth.form = 1;
        tlcf->auth.encoding = 1;
        return NGX_CONF_OK;
    }

    if (basic && ngx_strcmp(value->data, "encoding=raw") == 0) {
        tlcf->auth.encoding = 1;
        return NGX_CONF_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\" in \"%V\"", value, directive);

    return NGX_CONF_ERROR;
}


char *
ngx_http_token_set_private_key(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    ngx_str_t             *value;
    ngx_pool_cleanup_t    *cln;
    ngx_http_token_key_t  *key;

    if (tlcf->auth.private_key != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "needs the path of a file";
    }

    key = ngx_pcalloc(cf->pool, sizeof(ngx_http_token_key_t));
    if (key == NULL) {
        return NGX_CONF_ERROR;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        return NGX_CONF_ERROR;
    }

    cln->handler = ngx_http_token_free_key;
    cln->data = key;

    if (ngx_array_init(&key->users, cf->pool, 1,
                       sizeof(ngx_http_token_loc_conf_t *))
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    key->name = value[1];
    key->pos = ngx_http_token_conf_pos(cf);

    if (ngx_http_token_load_key(cf, key) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    tlcf->auth.private_key = key;

    return NGX_CONF_OK;
}


static char *
ngx_http_token_load_key(ngx_conf_t *cf, ngx_http_token_key_t *key)
{
    ngx_str_t  *directive;

    if (ngx_http_token_value_file(cf, &key->pos, &key->name, &key->file)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    directive = cf->args->elts;

    key->pkey = ngx_http_token_key_parse(&key->file->text);

    ngx_explicit_memzero(key->file->text.data, key->file->text.len);
    ngx_str_null(&key->file->text);

    if (key->pkey) {
        return NGX_CONF_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "\"%V\" of \"%V\" is not a PEM file with a private key "
                       "that needs no password", &key->name, directive);

    return NGX_CONF_ERROR;
}


static void
ngx_http_token_free_key(void *data)
{
    ngx_http_token_key_t *key = data;

    EVP_PKEY_free(key->pkey);
    key->pkey = NULL;
}


char *
ngx_http_token_set_certificate(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    ngx_str_t              *value;
    ngx_pool_cleanup_t     *cln;
    ngx_http_token_cert_t  *certificate;

    if (tlcf->auth.certificate != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "needs the path of a file";
    }

    certificate = ngx_pcalloc(cf->pool, sizeof(ngx_http_token_cert_t));
    cln = ngx_pool_cleanup_add(cf->pool, 0);

    if (certificate == NULL || cln == NULL) {
        return NGX_CONF_ERROR;
    }

    cln->handler = ngx_http_token_free_certificate;
    cln->data = certificate;

    certificate->name = value[1];
    certificate->pos = ngx_http_token_conf_pos(cf);

    tlcf->auth.certificate = certificate;

    return ngx_http_token_load_certificate(cf, certificate);
}


static char *
ngx_http_token_load_certificate(ngx_conf_t *cf,
    ngx_http_token_cert_t *certificate)
{
    BIO                    *bio;
    ngx_str_t               name, *directive;
    ngx_http_token_read_t   file;

    directive = cf->args->elts;

    if (ngx_http_token_conf_file(cf, &certificate->pos, &certificate->name,
                                 &name, &file)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    bio = BIO_new_mem_buf(file.text.data, file.text.len);

    if (bio) {
        certificate->x509 = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        BIO_free(bio);
    }

    if (certificate->x509
        && ngx_http_token_thumbprint(cf, certificate->x509, EVP_sha1(),
                                     &certificate->x5t)
           == NGX_OK
        && ngx_http_token_thumbprint(cf, certificate->x509, EVP_sha256(),
                                     &certificate->x5t_s256)
           == NGX_OK)
    {
        return NGX_CONF_OK;
    }

    ERR_clear_error();

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "\"%V\" of \"%V\" is not a PEM file with "
                       "a certificate", &certificate->name, directive);

    return NGX_CONF_ERROR;
}


/* RFC 7515 4.1.7 and 4.1.8 */

static ngx_int_t
ngx_http_token_thumbprint(ngx_conf_t *cf, X509 *x509, const EVP_MD *md,
    ngx_str_t *text)
{
    u_char        digest[EVP_MAX_MD_SIZE];
    unsigned int  len;

    if (X509_digest(x509, md, digest, &len) != 1) {
        return NGX_ERROR;
    }

    text->data = ngx_pnalloc(cf->pool, ngx_base64_encoded_length(len));
    if (text->data == NULL) {
        return NGX_ERROR;
    }

    text->len = ngx_http_token_base64url(text->data, digest, len) - text->data;

    return NGX_OK;
}


static void
ngx_http_token_free_certificate(void *data)
{
    ngx_http_token_cert_t *certificate = data;

    X509_free(certificate->x509);
    certificate->x509 = NULL;
}


char *
ngx_http_token_set_key_id(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    char                  *rv;
    ngx_http_token_pos_t   pos;

    rv = ngx_conf_set_str_slot(cf, cmd, conf);

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    pos = ngx_http_token_conf_pos(cf);

    return ngx_http_token_conf_credential(cf, &pos, &tlcf->auth.key_id);
}


char *
ngx_http_token_set_audience(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    char                  *rv;
    ngx_http_token_pos_t   pos;

    rv = ngx_http_token_set_complex(cf, cmd, conf);

    if (rv != NGX_CONF_OK || tlcf->auth.audience->lengths) {
        return rv;
    }

    pos = ngx_http_token_conf_pos(cf);

    return ngx_http_token_conf_credential(cf, &pos,
                                          &tlcf->auth.audience->value);
}


void
ngx_http_token_auth_create(ngx_http_token_auth_conf_t *conf)
{
    conf->client_id = NGX_CONF_UNSET_PTR;
    conf->client_secret = NGX_CONF_UNSET_PTR;
    conf->method = NGX_CONF_UNSET_UINT;
    conf->assertion = NGX_CONF_UNSET_PTR;
    conf->private_key = NGX_CONF_UNSET_PTR;
    conf->certificate = NGX_CONF_UNSET_PTR;
}


char *
ngx_http_token_auth_merge(ngx_conf_t *cf, ngx_http_token_auth_conf_t *prev,
    ngx_http_token_auth_conf_t *conf)
{
    ngx_conf_merge_ptr_value(conf->client_id, prev->client_id, NULL);

    if (conf->client_secret == NGX_CONF_UNSET_PTR) {
        conf->second_secret = prev->second_secret;
    }

    ngx_conf_merge_ptr_value(conf->client_secret, prev->client_secret, NULL);

    if (conf->assertion == NGX_CONF_UNSET_PTR) {
        conf->assertion_type = prev->assertion_type;
    }

    ngx_conf_merge_ptr_value(conf->assertion, prev->assertion, NULL);

    if (conf->method == NGX_CONF_UNSET_UINT) {
        conf->form = prev->form;
        conf->encoding = prev->encoding;
        conf->alg_name = prev->alg_name;
    }

    ngx_conf_merge_uint_value(conf->method, prev->method,
                              NGX_HTTP_TOKEN_CLIENT_SECRET_BASIC);
    ngx_conf_merge_ptr_value(conf->private_key, prev->private_key, NULL);
    ngx_conf_merge_ptr_value(conf->certificate, prev->certificate, NULL);
    ngx_conf_merge_str_value(conf->key_id, prev->key_id, "");

    if (conf->audience == NULL) {
        conf->audience = prev->audience;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_token_auth_init_grant(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf)
{
    ngx_uint_t               i;
    ngx_http_token_param_t  *param;

    if (!ngx_http_token_equals(&tlcf->grant_type, NGX_HTTP_TOKEN_JWT_BEARER)) {
        return NGX_CONF_OK;
    }

    /* an assertion that another has signed */

    param = tlcf->params->elts;

    for (i = 0; i < tlcf->params->nelts; i++) {
        if (ngx_http_token_equals(&param[i].name, "assertion")) {
            return NGX_CONF_OK;
        }
    }

    if (tlcf->auth.private_key == NULL) {
        ngx_http_token_log(NGX_LOG_EMERG, cf, &tlcf->pos, 0,
                           "\"token_proxy_grant_type " NGX_HTTP_TOKEN_JWT_BEARER
                           "\" needs \"token_proxy_private_key\", or "
                           "\"token_proxy_param assertion\"");
        return NGX_CONF_ERROR;
    }

    tlcf->auth.grant_alg = ngx_http_token_check_key(cf, tlcf,
                                                    "token_proxy_grant_type");

    return tlcf->auth.grant_alg ? NGX_CONF_OK : NGX_CONF_ERROR;
}


char *
ngx_http_token_auth_init(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf)
{
    if (tlcf->auth.method == NGX_HTTP_TOKEN_CLIENT_SECRET_JWT
        || tlcf->auth.method == NGX_HTTP_TOKEN_PRIVATE_KEY_JWT)
    {
        if (ngx_http_token_choose_alg(cf, tlcf) != NGX_CONF_OK) {
            return NGX_CONF_ERROR;
        }

    } else if (tlcf->auth.grant_alg == NULL) {
        tlcf->auth.audience = NULL;
    }

    if (tlcf->auth.method != NGX_HTTP_TOKEN_CLIENT_ASSERTION) {
        tlcf->auth.assertion = NULL;

    } else if (tlcf->auth.assertion == NULL) {
        ngx_http_token_log(NGX_LOG_EMERG, cf, &tlcf->pos, 0,
                           "\"token_proxy_auth_method client_assertion\" "
                           "needs \"token_proxy_client_assertion\"");
        return NGX_CONF_ERROR;
    }

    if (ngx_http_token_check_certificate(cf, tlcf) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    return ngx_http_token_auth_init_identity(cf, tlcf);
}


static char *
ngx_http_token_choose_alg(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf)
{
    ngx_http_token_value_t  *secret;

    if (tlcf->auth.method == NGX_HTTP_TOKEN_PRIVATE_KEY_JWT) {

        if (tlcf->auth.private_key == NULL) {
            ngx_http_token_log(NGX_LOG_EMERG, cf, &tlcf->pos, 0,
                               "\"token_proxy_auth_method private_key_jwt\" "
                               "needs \"token_proxy_private_key\"");
            return NGX_CONF_ERROR;
        }

        tlcf->auth.alg = ngx_http_token_check_key(cf, tlcf,
                                    "token_proxy_auth_method private_key_jwt");

        return tlcf->auth.alg ? NGX_CONF_OK : NGX_CONF_ERROR;
    }

    tlcf->auth.alg = ngx_http_token_find_alg(tlcf->auth.method,
                                             &tlcf->auth.alg_name,
                                             NULL);
    secret = tlcf->auth.client_secret;

    if (secret->complex == NULL
        && secret->text.len * 8 < (size_t) tlcf->auth.alg->bits)
    {
        ngx_http_token_log(NGX_LOG_WARN, cf, &tlcf->pos, 0,
                           "the client secret is shorter than the %d bytes "
                           "that RFC 7518 wants for %V",
                           tlcf->auth.alg->bits / 8, &tlcf->auth.alg->name);
    }

    return NGX_CONF_OK;
}


/* the algorithm for the private key, or NULL after a message */

static ngx_http_token_alg_t *
ngx_http_token_check_key(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf,
    char *directive)
{
    ngx_str_t                    name;
    ngx_http_token_alg_t        *alg;
    ngx_http_token_key_t        *key;
    ngx_http_token_loc_conf_t  **user;

    key = tlcf->auth.private_key;

    alg = ngx_http_token_key_alg(tlcf, key->pkey);

    if (alg && ngx_http_token_key_signs(cf->temp_pool, alg, key->pkey)) {

        user = ngx_array_push(&key->users);
        if (user == NULL) {
            return NULL;
        }

        *user = tlcf;

        return alg;
    }

    ngx_str_null(&name);

    if (tlcf->auth.method == NGX_HTTP_TOKEN_PRIVATE_KEY_JWT) {
        name = tlcf->auth.alg_name;
    }

    ngx_http_token_log(NGX_LOG_EMERG, cf, &key->pos, 0,
                       "key \"%V\" of \"token_proxy_private_key\" does not fit "
                       "%s%V of \"%s\"", &key->name,
                       name.len ? "algorithm " : "any algorithm", &name,
                       directive);

    return NULL;
}


static char *
ngx_http_token_check_certificate(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf)
{
    ngx_http_token_cert_t  *certificate;

    certificate = tlcf->auth.certificate;

    if (certificate == NULL
        || (tlcf->auth.method != NGX_HTTP_TOKEN_PRIVATE_KEY_JWT
            && tlcf->auth.grant_alg == NULL)
        || X509_check_private_key(certificate->x509,
                                  tlcf->auth.private_key->pkey)
           == 1)
    {
        return NGX_CONF_OK;
    }

    ERR_clear_error();

    ngx_http_token_log(NGX_LOG_EMERG, cf, &certificate->pos, 0,
                       "certificate \"%V\" of \"token_proxy_certificate\" "
                       "does not belong to key \"%V\" of "
                       "\"token_proxy_private_key\"", &certificate->name,
                       &tlcf->auth.private_key->name);

    return NGX_CONF_ERROR;
}


/*
 * The cache has to tell keys and certificates apart, which are neither in the
 * header nor in the body of a token request.  A key is known by its file, whose
 * content may change.
 */

static char *
ngx_http_token_auth_init_identity(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf)
{
    u_char                    *p;
    ngx_str_t                  key, certificate, alg, grant_alg, x5t;
#if (NGX_HTTP_SSL)
    ngx_http_upstream_conf_t  *ucf;
#endif

    ngx_str_set(&certificate, "");
    ngx_str_set(&alg, "");
    ngx_str_set(&grant_alg, "");
    ngx_str_set(&x5t, "");
    ngx_str_set(&key, "");

    if (tlcf->auth.method == NGX_HTTP_TOKEN_PRIVATE_KEY_JWT
        || tlcf->auth.grant_alg)
    {
        key = tlcf->auth.private_key->file->name;
    }

#if (NGX_HTTP_SSL)

    ucf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_proxy_module);

    if (ucf->ssl_certificate) {
        certificate = ucf->ssl_certificate->value;
    }

#endif

    if (tlcf->auth.alg) {
        alg = tlcf->auth.alg->name;
    }

    if (tlcf->auth.grant_alg) {
        grant_alg = tlcf->auth.grant_alg->name;
    }

    if (tlcf->auth.certificate) {
        x5t = tlcf->auth.certificate->x5t_s256;
    }

    p = ngx_pnalloc(cf->pool, key.len + 1
                              + tlcf->auth.key_id.len + 1
                              + certificate.len + 1 + alg.len + 1
                              + grant_alg.len + 1 + x5t.len);
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    tlcf->auth.identity.data = p;

    /* the parts that vary in length end with a NUL */

    p = ngx_sprintf(p, "%V%Z%V%Z%V%Z%V%Z%V%Z%V", &key, &tlcf->auth.key_id,
                    &certificate, &alg, &grant_alg, &x5t);

    tlcf->auth.identity.len = p - tlcf->auth.identity.data;

    return NGX_CONF_OK;
}
